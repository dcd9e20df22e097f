"""IAL, the refined estimate: alpha_p = G alpha_u, and the energies by their formula."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from tag2mask.labels import labels_from_channels, labels_from_class_ids
from tag2mask.learning.pairwise import apply_pairwise, build_pairwise
from tag2mask.learning.segmenting import build_segmenter, image_probabilities, predict_mask
from tag2mask.ops.propagation import affinity_matrix
from tag2mask.ops.soft_masks import with_tags
from tag2mask.runs.round import Round
from tag2mask.stages.r5_refine import _energies
from tiny import tiny_rounds, tiny_runtime

SETTINGS = tiny_rounds()


def probabilities(classes, *size, seed=0):
    return torch.randn(1 + classes, *size, generator=torch.Generator().manual_seed(seed)).mul(3).softmax(dim=0)


@pytest.fixture(scope="module")
def networks(rounds):
    """The two networks of round 1."""
    em_round, runtime = Round(rounds, 1), tiny_runtime()
    unary = build_segmenter(SETTINGS.unary, 6, None, runtime)
    unary.load_state_dict(em_round.weights("1_unary"))
    pairwise = build_pairwise(SETTINGS.pairwise, 6, None, runtime)
    pairwise.load_state_dict(em_round.weights("4_pairwise"))
    return unary, pairwise


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
