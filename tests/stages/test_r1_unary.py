"""IAL, the unary network: hard or soft targets that line up with the image, and where its weights begin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from painted import Stripes, fill_round, inside, run_by_hand, stripes_seen
from tag2mask.learning.segmenting import build_segmenter
from tag2mask.nets.backbones import Backbone
from tag2mask.records import SoftMask
from tag2mask.runs.encodings import write_soft_mask
from tag2mask.runs.round import Round
from tag2mask.stages.r1_unary import SoftViews, collate_soft, learn_unary
from tiny import tiny_rounds, tiny_runtime

SETTINGS = replace(tiny_rounds().unary, long_side=(40, 90), crop=64, jitter=(0, 0, 0, 0), epochs=1)


@pytest.fixture
def taught(tmp_path):
    """Images of stripes; a round that was made by hand, in a run that is its own start."""
    data = Stripes()
    em_round = Round(run_by_hand(tmp_path, data), 2)
    fill_round(em_round, data)
    return data, em_round


def views_of(data, em_round):
    backbone = Backbone("resnet10t", 16)
    views = SoftViews(data, em_round.refined_soft, SETTINGS, backbone=backbone, runtime=tiny_runtime(), title="t")
    return views, backbone


def test_views_show_pixels_and_probabilities_of_the_same_place(taught):
    views, backbone = views_of(*taught)
    outside = 0
    for epoch in range(8):
        pixels, targets = views[epoch, epoch % 2]
        assert targets.shape == (4, 64, 64)
        shown = inside(pixels)
        assert not targets[:, ~shown].any()
        assert_close(targets[:, shown].sum(dim=0), torch.ones(int(shown.sum())))
        stripes, clean = stripes_seen(pixels, backbone.mean, backbone.std)
        agree = (targets[3] > 0.5) == (stripes % 2 == 1)
        assert agree[clean].float().mean() > 0.97
        assert not targets[1:3].any()
        outside += int((~shown).sum())
    assert outside > 0


def test_probabilities_at_coarse_cells_are_enlarged_to_the_image(tmp_path):
    data = Stripes(size=(64, 64), names=("a",))
    em_round = Round(run_by_hand(tmp_path, data), 1)
    fill_round(em_round, data)
    write_soft_mask(
        em_round.path / "5_refine" / "soft" / "a.npz",
        SoftMask("a", torch.tensor([2]), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), (64, 64)),
    )
    settings = replace(SETTINGS, long_side=(64, 64))
    views = SoftViews(
        data, em_round.refined_soft, settings, backbone=Backbone("resnet10t", 16), runtime=tiny_runtime(), title="t"
    )
    _, targets = views[0, 0]
    ramp = F.interpolate(torch.tensor([[[[0.0, 1.0]]]]), (64, 64), mode="bilinear", align_corners=False)[0, 0]
    assert targets[3].equal(ramp) or targets[3].equal(ramp.flip(-1))


def test_a_batch_stacks_its_views(taught):
    views, _ = views_of(*taught)
    batch = collate_soft([views[0, 0], views[0, 1]])
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert batch.targets[1].equal(views[0, 1][1])


def learn(data, em_round, masks, before=None, **changes):
    settings = replace(SETTINGS, **changes)
    return learn_unary(data, masks, em_round, settings, after=(), before=before, runtime=tiny_runtime())


@pytest.mark.parametrize("soft", [False, True])
def test_training_goes_on_from_the_network_before(taught, soft):
    data, em_round = taught
    masks = em_round.refined_soft if soft else em_round.masks
    before = build_segmenter(SETTINGS, 3, None, tiny_runtime())
    with torch.no_grad():
        before.classify.bias += 0.25
    net = learn(data, em_round, masks, before, rate=1e-12, weight_decay=0.0)
    kept = before.state_dict()
    for name, weight in net.named_parameters():
        assert_close(weight, kept[name], atol=1e-6, rtol=0)
    again = learn(data, em_round, masks, None, rate=1e-12, weight_decay=0.0)
    assert all(value.equal(net.state_dict()[name]) for name, value in again.state_dict().items()), "done before"


def test_it_learns_soft_masks(taught):
    data, em_round = taught
    start = build_segmenter(SETTINGS, 3, None, tiny_runtime())
    learn(data, em_round, em_round.refined_soft, start, epochs=12, rate=5e-3)
    losses = [loss for _, loss in em_round.run.curves()["rounds/2/1_unary"]["labels"]]
    # No less than the entropy of (0.8, 0.2).
    assert 0.5 < losses[-1] < 0.75 * losses[0]


def test_soft_and_hard_masks_are_not_taken_for_each_other(taught):
    data, em_round = taught
    start = build_segmenter(SETTINGS, 3, None, tiny_runtime())
    weights = [
        learn(data, em_round, masks, start).classify.weight.detach().clone()
        for masks in (em_round.masks, em_round.refined_soft, em_round.masks)
    ]
    assert not weights[0].equal(weights[1])
    assert weights[0].equal(weights[2])


def test_a_share_of_the_network_is_the_one_before(taught):
    data, em_round = taught
    before = build_segmenter(SETTINGS, 3, None, tiny_runtime())
    old = {name: value.clone() for name, value in before.state_dict().items()}
    found = {}
    for share in (1.0, 0.25):
        net = learn_unary(
            data, em_round.masks, em_round, SETTINGS, after=(), before=before, share=share, runtime=tiny_runtime()
        )
        found[share] = net.state_dict()
    for name, value in old.items():
        assert_close(before.state_dict()[name], value, rtol=0, atol=0)
        if value.is_floating_point():
            assert_close(found[0.25][name], 0.75 * value + 0.25 * found[1.0][name])
    again = learn_unary(
        data, em_round.masks, em_round, SETTINGS, after=(), before=before, share=0.25, runtime=tiny_runtime()
    )
    assert again.state_dict()["classify.weight"].equal(found[0.25]["classify.weight"]), "loaded, not averaged twice"
