"""IAL, the estimates: tags applied, alpha_u, alpha_p = G alpha_u, and the energies by their formula."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tag2mask.learning.pairwise import apply_pairwise, build_pairwise
from tag2mask.learning.segmenting import build_segmenter, image_probabilities, predict_mask
from tag2mask.ops.propagation import affinity_matrix
from tag2mask.ops.soft_masks import soft_mask, with_tags
from tag2mask.records import TaggedImage, labels_from_channels, labels_from_class_ids
from tag2mask.runs.round import Round
from tag2mask.stages.r5_refine import _energies
from tiny import tiny_rounds, tiny_runtime

SETTINGS = tiny_rounds()


def probabilities(classes, *size, seed=0):
    return torch.randn(1 + classes, *size, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(dim=0)


def tags_of(*class_ids, classes=4):
    tags = torch.zeros(classes, dtype=torch.bool)
    tags[list(class_ids)] = True
    return tags


def test_only_the_background_and_the_tags_are_left_and_sum_to_1():
    given = probabilities(4, 5, 6)
    before = given.clone()
    found = with_tags(given, tags_of(0, 3))
    assert given.equal(before), "the argument stays as it is"
    assert not found[[2, 3]].any()
    assert_close(found.sum(dim=0), torch.ones(5, 6))
    left = given[[0, 1, 4]]
    assert_close(found[[0, 1, 4]], left / left.sum(dim=0))


def test_what_has_every_tag_stays():
    given = probabilities(4, 5, 6)
    assert_close(with_tags(given, tags_of(0, 1, 2, 3)), given)


def test_without_tags_all_is_background():
    assert_close(with_tags(probabilities(4, 5, 6), tags_of())[0], torch.ones(5, 6))


def test_where_nothing_is_left_is_background():
    given = torch.zeros(3, 1, 2)
    given[2, 0, 0] = 1.0  # All of the first pixel is a class that the image has no tag of.
    given[:, 0, 1] = torch.tensor([0.0, 0.5, 0.5])
    found = with_tags(given, torch.tensor([True, False]))
    assert found[:, 0, 0].tolist() == [1, 0, 0]
    assert found[:, 0, 1].tolist() == [0, 1, 0]
    assert given[0].sum() == 0, "the argument stays as it is"


def image_of(size, tags):
    return TaggedImage("a", torch.zeros(3, *size, dtype=torch.uint8), tags)


@pytest.mark.parametrize("stride", [1, 2, 4, 7])
def test_a_soft_mask_is_the_mean_over_cells(stride):
    whole = probabilities(4, 12, 20)
    found = soft_mask(image_of((12, 20), tags_of(1, 3)), whole, stride)
    assert found.class_ids.tolist() == [1, 3]
    assert found.image_size == (12, 20)
    assert found.probabilities.shape == (3, -(-12 // stride), -(-20 // stride))
    assert_close(found.probabilities.sum(dim=0), torch.ones(found.probabilities.shape[1:]))
    if 12 % stride == 0:
        expected = F.avg_pool2d(with_tags(whole, tags_of(1, 3)), stride)
        assert_close(found.probabilities, expected[[0, 2, 4]])
        assert_close(found.spread(4), expected)


def test_a_soft_mask_of_an_image_without_tags_is_background():
    found = soft_mask(image_of((4, 4), tags_of()), probabilities(4, 4, 4), 2)
    assert found.probabilities.tolist() == [[[1, 1], [1, 1]]]


def test_a_soft_mask_with_300_classes_finds_the_channel_of_label_300():
    whole = torch.zeros(301, 2, 2)
    whole[299] = 1.0
    found = soft_mask(image_of((2, 2), tags_of(298, classes=300)), whole, 1)
    assert found.probabilities[1].min() == 1
    assert labels_from_channels(found.spread(300).argmax(dim=0)).unique().tolist() == [300]


@pytest.fixture(scope="module")
def networks(rounds):
    """The two networks of round 1."""
    em_round, runtime = Round(rounds, 1), tiny_runtime()
    unary = build_segmenter(SETTINGS.unary, 6, None, runtime)
    unary.load_state_dict(em_round.weights("1_unary"))
    pairwise = build_pairwise(SETTINGS.pairwise, 6, None, runtime)
    pairwise.load_state_dict(em_round.weights("4_pairwise"))
    return unary, pairwise


def test_alpha_u_is_what_the_unary_network_says_among_the_tags(scenes, rounds, networks):
    em_round, (unary, _), runtime = Round(rounds, 1), networks, tiny_runtime()
    for name in scenes.names[:4]:
        image = scenes[name]
        with runtime.inference(unary):
            whole = with_tags(image_probabilities(image.pixels, unary, SETTINGS.unary, runtime), image.tags)
        assert em_round.unary[name].equal(labels_from_channels(whole.argmax(dim=0)))
        cells = F.avg_pool2d(whole, SETTINGS.pairwise.stride)
        assert_close(em_round.soft[name].spread(6), cells, atol=4 / 255, rtol=0)


def test_held_out_images_are_estimated_without_tags(scenes, rounds, networks):
    em_round, (unary, pairwise), runtime = Round(rounds, 1), networks, tiny_runtime()
    for name in scenes.val_names:
        pixels = scenes[name].pixels
        with runtime.inference(unary), runtime.inference(pairwise):
            mask = predict_mask(scenes[name], unary, SETTINGS.unary, runtime)
            alpha = image_probabilities(pixels, unary, SETTINGS.unary, runtime)
            [refined] = apply_pairwise(pixels, alpha, pairwise, SETTINGS.pairwise, runtime)
        assert em_round.unary[name].equal(mask.labels)
        enlarged = F.interpolate(refined[None], (48, 48), mode="bilinear", align_corners=False)[0]
        assert em_round.masks[name].labels.equal(labels_from_channels(enlarged.argmax(dim=0)))


def matrix_of(pixels, pairwise, runtime):
    """G of an image, (N, N), and its size in cells."""
    with runtime.inference(pairwise):
        view = pixels[None].float() / 255
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (pairwise.backbone.mean, pairwise.backbone.std))
        guidance = pairwise.guide(((view - mean) / std).contiguous(memory_format=torch.channels_last))
        return affinity_matrix(guidance.weights, guidance.gates)[0], guidance.weights.shape[-2:]


def test_alpha_p_is_g_alpha_u_among_the_tags(scenes, rounds, networks):
    em_round, runtime = Round(rounds, 1), tiny_runtime()
    for name in scenes.names:
        matrix, cells = matrix_of(scenes[name].pixels, networks[1], runtime)
        refined = (matrix @ em_round.soft[name].spread(6).flatten(1).T).T.unflatten(1, cells)
        expected = with_tags(refined, scenes.tags(name))
        assert_close(em_round.refined_soft[name].spread(6), expected, atol=5 / 255, rtol=0)
        enlarged = F.interpolate(expected[None], (48, 48), mode="bilinear", align_corners=False)[0]
        best = enlarged.topk(2, dim=0).values
        clear = best[0] - best[1] > 1e-3
        labels = labels_from_channels(enlarged.argmax(dim=0))
        assert em_round.masks[name].labels[clear].equal(labels[clear])
        assert_close(em_round.masks[name].confidence, best[0], atol=1 / 255, rtol=0)


def test_the_energies_are_those_of_the_formula(scenes, rounds, networks):
    em_round, runtime = Round(rounds, 1), tiny_runtime()
    expected = {"unary": 0.0, "mined": 0.0, "refined": 0.0}
    for name in scenes.names:
        matrix, (height, width) = matrix_of(scenes[name].pixels, networks[1], runtime)
        laplacian = torch.eye(len(matrix)) - matrix
        alpha = em_round.soft[name].spread(6).flatten(1).T  # (N, 1 + C)
        refined = matrix @ alpha
        # The label at the centre of each cell of two pixels; where nothing is mined, alpha itself.
        mined = em_round.mined[name].labels[1::2, 1::2].flatten()
        target = alpha.clone()
        for cell in (mined != 255).nonzero().flatten().tolist():
            target[cell] = F.one_hot(mined[cell], 7).float()
        share = 1 / (8 * height * width * 7)
        expected["unary"] += float((alpha * (laplacian @ alpha)).sum()) * share
        expected["mined"] += float((target * (laplacian @ alpha)).sum()) * share
        expected["refined"] += float((refined * (laplacian @ refined)).sum()) * share
    found = em_round.summaries()["5_refine"].energy
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-3, abs=1e-9)
    assert expected["unary"] > 1e-6
    assert expected["unary"] != pytest.approx(expected["mined"], rel=0.01), "labels were mined"


def test_the_energy_is_of_the_alpha_that_was_spread():
    """Also where alpha is kept at more cells than the pairwise network has."""
    runtime, pixels = tiny_runtime(), torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    settings = replace(SETTINGS.pairwise, max_side=32)
    net = build_pairwise(settings, 2, None, runtime)
    alpha = probabilities(2, 64, 64)
    with runtime.inference(net):
        refined, again = apply_pairwise(pixels, alpha, net, settings, runtime, times=2)
        assert refined.shape == again.shape == (3, 16, 16)
        small = F.interpolate(alpha[None], (16, 16), mode="bilinear", antialias=True)[0]
        [same] = apply_pairwise(pixels, small, net, settings, runtime)
    assert_close(refined, same)
    found = _energies(alpha, refined, again, torch.full((64, 64), 255))
    assert found["unary"] == pytest.approx(float((small * (small - refined)).mean()), rel=1e-4)
    # The same numbers, added up in another order.
    assert found["mined"] == pytest.approx(found["unary"], rel=1e-5), "nothing was mined"
    assert found["refined"] == pytest.approx(float((refined * (refined - again)).mean()), rel=1e-4)


@pytest.mark.parametrize("size", [(48, 48), (33, 71), (1, 1), (200, 10)])
@pytest.mark.parametrize("change", [{}, {"merge": "max", "signed": True, "edges": False, "hidden": 8, "passes": 2}])
def test_images_of_any_size_are_refined(size, change):
    settings, runtime = replace(SETTINGS.pairwise, **change), tiny_runtime()
    net = build_pairwise(settings, 6, None, runtime)
    with runtime.inference(net):
        once, twice = apply_pairwise(
            torch.zeros(3, *size, dtype=torch.uint8), probabilities(6, *size), net, settings, runtime, times=2
        )
    assert once.shape == twice.shape
    assert max(once.shape[1:]) <= 32
    assert_close(once.sum(dim=0), torch.ones(once.shape[1:]))
    assert float(once.min()) >= 0


def test_without_a_pairwise_network_alpha_p_is_alpha_u():
    alpha = probabilities(2, 8, 8)
    once, twice = apply_pairwise(
        torch.zeros(3, 8, 8, dtype=torch.uint8), alpha, None, SETTINGS.pairwise, tiny_runtime(), times=2
    )
    assert once is alpha
    assert twice is alpha


def test_an_image_without_tags_is_background_in_every_round(scenes, rounds):
    name = scenes.names[1]
    assert not scenes.tags(name).any()
    for number in (1, 2):
        em_round = Round(rounds, number)
        assert em_round.unary[name].unique().tolist() == [0]
        assert em_round.masks[name].labels.unique().tolist() == [0]
        assert em_round.mined[name].labels.unique().tolist() in ([0], [0, 255])
        assert em_round.soft[name].probabilities.shape == (1, 24, 24)
        assert em_round.refined_soft[name].probabilities.unique().tolist() == [1]


def test_only_tags_are_found_in_training_images(scenes, rounds):
    seen = set()
    for number in (1, 2):
        em_round = Round(rounds, number)
        for name in scenes.names:
            allowed = {0, *labels_from_class_ids(scenes.tags(name).nonzero().flatten()).tolist()}
            for labels in (em_round.unary[name], em_round.masks[name].labels):
                assert set(labels.unique().tolist()) <= allowed
                seen |= set(labels.unique().tolist())
            assert set(em_round.mined[name].labels.unique().tolist()) <= {*allowed, 255}
    assert len(seen) > 3
