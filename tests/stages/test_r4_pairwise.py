"""IAL, the pairwise network: views whose probabilities, labels and regions line up, and its loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from painted import STRIPES, Stripes, fill_round, inside, run_by_hand, stripes_seen, superpixels_by_hand
from tag2mask.labels import IGNORE
from tag2mask.learning.pairwise import build_pairwise
from tag2mask.nets.backbones import Backbone
from tag2mask.ops.losses import confident_region_loss, region_smoothness_loss
from tag2mask.ops.superpixels import resize_regions
from tag2mask.records import SoftMask
from tag2mask.runs.encodings import write_soft_mask
from tag2mask.runs.round import Round
from tag2mask.stages.r4_pairwise import PairwiseViews, collate_pairwise, learn_pairwise, pairwise_loss
from tiny import tiny_rounds, tiny_runtime

SETTINGS = replace(tiny_rounds().pairwise, long_side=(40, 90), crop=64, jitter=(0, 0, 0, 0))


def views_of(data, em_round, settings=SETTINGS):
    backbone = Backbone("resnet10t", 16)
    return PairwiseViews(data, em_round, settings, backbone=backbone, runtime=tiny_runtime()), backbone


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_views_show_pixels_probabilities_labels_and_regions_of_the_same_place(painted, stride):
    views, backbone = views_of(*painted, replace(SETTINGS, stride=stride))
    outside = even = 0
    for epoch in range(8):
        pixels, probabilities, labels, ids, count = views[epoch, epoch % 2]
        side = 64 // stride
        assert pixels.shape == (3, 64, 64)
        assert probabilities.shape == (4, side, side)
        assert labels.shape == ids.shape == (side, side)
        assert count == STRIPES
        assert_close(probabilities.sum(dim=0), torch.ones(side, side))
        # The pixel that stands for a cell.
        stripes, clean = (
            found[stride // 2 :: stride, stride // 2 :: stride]
            for found in stripes_seen(pixels, backbone.mean, backbone.std)
        )
        assert clean.sum() > 200 / stride
        assert (ids[clean] == stripes[clean]).float().mean() > 0.98
        assert (labels[clean] == 3 * (stripes[clean] % 2)).float().mean() > 0.98
        assert (labels[ids >= 0] == 3 * (ids[ids >= 0] % 2)).all()
        # Cells whose neighbours are alike lie in one stripe; one that the image's border cuts is the mean of its rest.
        same = F.max_pool2d(labels[None].float(), 3, 1, 1)[0] == -F.max_pool2d(-labels[None].float(), 3, 1, 1)[0]
        pure = same & (labels != IGNORE)
        expected = torch.where(labels == 3, 0.8, 0.2)
        even += int(pure.sum())
        assert_close(probabilities[3][pure], expected[pure], atol=0.07, rtol=0)
        assert not probabilities[1:3].any()
        outside += int((ids < 0).sum())
    assert outside > 0
    assert even > 800 / stride**2


def test_what_lies_outside_of_the_image_is_unknown_background(painted):
    views, _ = views_of(*painted)
    for epoch in range(8):
        pixels, probabilities, labels, ids, _ = views[epoch, 0]
        shown = F.avg_pool2d(inside(pixels)[None].float(), 2)[0]
        centre = inside(pixels)[1::2, 1::2]
        assert ((labels != IGNORE) == centre).all()
        assert ((ids >= 0) == centre).all()
        assert (probabilities[0][shown == 0] == 1).all()
        assert not probabilities[1:, shown == 0].any()


def test_a_view_of_the_whole_image_has_its_very_cells(tmp_path):
    data = Stripes(size=(64, 64), names=("a",))
    run = run_by_hand(tmp_path, data)
    superpixels_by_hand(run, data)
    em_round = Round(run, 1)
    fill_round(em_round, data, stride=2)
    views, _ = views_of(data, em_round, replace(SETTINGS, long_side=(64, 64)))
    alpha = F.interpolate(em_round.soft["a"].spread(3)[None], (64, 64), mode="bilinear", align_corners=False)
    turned = []
    for epoch in range(6):
        _, probabilities, labels, ids, _ = views[epoch, 0]
        turned.append(bool(ids[0, 0] > ids[0, -1]))
        back = (lambda maps, turn=turned[-1]: maps.flip(-1)) if turned[-1] else (lambda maps: maps)
        assert_close(back(probabilities), F.avg_pool2d(alpha, 2)[0])
        # The pixel at the centre of a cell of two is the second one, and in a mirrored view the first.
        whole = data.labels().flip(-1) if turned[-1] else data.labels()
        assert labels.equal(resize_regions(whole, (32, 32)))
    assert {True, False} == set(turned)


def test_an_image_without_tags_is_background(painted):
    data, em_round = painted
    nothing = SoftMask("a", torch.zeros(0, dtype=torch.int64), torch.ones(1, 20, 30), data.size)
    write_soft_mask(em_round.path / "2_estimate" / "soft" / "a.npz", nothing)
    _, probabilities, _, _, _ = views_of(data, em_round)[0][0, 0]
    assert (probabilities[0] == 1).all()
    assert not probabilities[1:].any()


def batch_of(painted, settings=SETTINGS):
    views, _ = views_of(*painted, settings)
    return collate_pairwise([views[0, 0], views[0, 1]])


def test_a_batch_numbers_its_regions_through(painted):
    batch = batch_of(painted)
    assert batch.count == 2 * STRIPES
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.probabilities.shape == (2, 4, 32, 32)
    first, second = (ids[ids >= 0].unique().tolist() for ids in batch.ids)
    assert max(first) < STRIPES <= min(second)


def test_the_loss_is_that_of_confident_regions_and_of_smoothness(painted):
    batch, runtime = batch_of(painted), tiny_runtime()
    net = build_pairwise(SETTINGS, 3, None, runtime).eval()
    terms = pairwise_loss(net, batch, runtime, smoothness=0.5)
    guidance = net.guide(batch.pixels)
    refined = net.refine(guidance, batch.probabilities)
    assert_close(terms["confident_regions"], confident_region_loss(refined, batch.labels))
    smooth = region_smoothness_loss(guidance.weights.reshape(2, 12, 32, 32), batch.ids, batch.count)
    assert_close(terms["smoothness"], smooth / 2)
    assert smooth > 0
    assert list(pairwise_loss(net, batch, runtime, smoothness=0)) == ["confident_regions"]


@pytest.mark.parametrize(
    "change",
    [
        {"merge": "mean"},
        {"merge": "max"},
        {"merge": "max", "signed": True, "edges": False, "hidden": 8, "passes": 2},
        {"passes": 2, "smoothness": 0.0},
    ],
)
def test_every_kind_of_network_gets_gradients_where_it_has_weights(painted, change):
    settings = replace(SETTINGS, **change)
    net = build_pairwise(settings, 3, None, tiny_runtime())
    batch = batch_of(painted, settings)
    sum(pairwise_loss(net, batch, tiny_runtime(), smoothness=settings.smoothness).values()).backward()
    used = [name for name, weight in net.named_parameters() if weight.grad is not None and bool(weight.grad.any())]
    assert "weigh.weight" in used
    assert (net.gate is not None) == ("gate.weight" in used)
    assert settings.edges == ("embed.weight" in used) == ("colour" in used)
    assert (net.lift is not None) == ("lift.weight" in used and "lower.weight" in used)
    assert any(name.startswith("backbone.") for name in used)


def test_training_goes_on_from_the_network_before(painted):
    data, em_round = painted
    before = build_pairwise(SETTINGS, 3, None, tiny_runtime())
    with torch.no_grad():
        before.weigh.bias += 0.25
    still = replace(SETTINGS, rate=1e-12, weight_decay=0.0)
    net = learn_pairwise(data, em_round, still, after=("3_mine",), before=before, runtime=tiny_runtime())
    kept = before.state_dict()
    for name, weight in net.named_parameters():
        assert_close(weight, kept[name], atol=1e-6, rtol=0)


def test_without_a_pairwise_network_that_of_other_settings_goes(painted):
    data, em_round = painted
    assert (em_round.path / "4_pairwise" / "weights.safetensors").is_file()
    settings = replace(SETTINGS, enabled=False)
    assert learn_pairwise(data, em_round, settings, after=(), before=None, runtime=tiny_runtime()) is None
    assert not (em_round.path / "4_pairwise").exists()


def test_a_finished_stage_gives_the_weights_back(scenes, copied_rounds):
    em_round = Round(copied_rounds, 1, type(copied_rounds)(copied_rounds.path.parent / "tiny"))
    kept = em_round.weights("4_pairwise")
    inputs = ("rounds/0_superpixels", "rounds/1/2_estimate", "rounds/1/3_mine", "01_classify")
    net = learn_pairwise(scenes, em_round, tiny_rounds().pairwise, after=inputs, before=None, runtime=tiny_runtime())
    assert all(value.equal(kept[name]) for name, value in net.state_dict().items())
    assert {"confident_regions", "smoothness", "loss"} == copied_rounds.curves()["rounds/1/4_pairwise"].keys()
