"""IAL, mining: regions that two opinions agree on."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from painted import STRIPES, Stripes, run_by_hand, soft_by_hand
from tag2mask.disk import read_json, write_json, write_labels
from tag2mask.labels import IGNORE
from tag2mask.learning.region_views import region_probabilities
from tag2mask.nets.backbones import Backbone
from tag2mask.nets.region_net import FINE_STRIDE, RegionNet
from tag2mask.ops.crf import CrfSettings
from tag2mask.ops.mining import allowed_labels, confident_regions, region_samples
from tag2mask.ops.refine import sharpened_labels
from tag2mask.ops.superpixels import SuperpixelSettings
from tag2mask.records import Regions, TaggedImage
from tag2mask.runs.encodings import write_region_scores, write_soft_mask
from tag2mask.runs.round import Round
from tag2mask.stages.r0_superpixels import make_superpixels
from tag2mask.stages.r3_mine import MineSettings, _averaged, mine_regions, region_loss
from tag2mask.weights.starting import kept_levels
from tiny import tiny_rounds, tiny_runtime, with_changes


class Flat(Stripes):
    """Images of a single colour."""

    def __getitem__(self, name):
        return TaggedImage(name, torch.full((3, *self.size), 90, dtype=torch.uint8), self.tags(name))


SETTINGS = replace(tiny_rounds().mine, long_side=(40, 90), crop=64, jitter=(0, 0, 0, 0))


def test_background_and_objects_count_one_half_each():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 0, 3, IGNORE, 1])
    allowed = torch.ones(6, 4, dtype=torch.bool)
    terms = region_loss(logits, labels, allowed)
    each = F.cross_entropy(logits, torch.tensor([0, 0, 0, 3, 0, 1]), reduction="none")
    assert_close(terms["background"], each[:3].mean() / 2)
    assert_close(terms["object"], each[[3, 5]].mean() / 2)


def test_classes_that_an_image_has_no_tag_of_take_no_part_in_the_loss():
    logits = torch.tensor([[0.0, 50.0, 0.0]]).requires_grad_()
    terms = region_loss(logits, torch.tensor([2]), torch.tensor([[True, False, True]]))
    assert terms["object"].item() == pytest.approx(math.log(2) / 2)
    sum(terms.values()).backward()
    assert logits.grad[0, 1] == 0


def test_regions_without_samples_give_no_loss():
    logits = torch.randn(2, 3, requires_grad=True)
    terms = region_loss(logits, torch.full((2,), IGNORE), torch.ones(2, 3, dtype=torch.bool))
    assert [term.item() for term in terms.values()] == [0, 0]
    sum(terms.values()).backward()
    assert not logits.grad.any()


def region_net(classes=3):
    with tiny_runtime().seeded("test"):
        return RegionNet(Backbone("resnet10t", 16), classes, 8, 0.5)


@pytest.mark.parametrize("size", [(40, 60), (1, 1), (7, 200)])
def test_probabilities_are_of_the_tags_and_sum_to_1(size):
    data = Stripes(size)
    _, ids = torch.unique(data.ids(), return_inverse=True)
    regions = Regions(ids, int(ids.max()) + 1)
    net, runtime = region_net(), tiny_runtime()
    with runtime.inference(net):
        found = region_probabilities(data["a"], regions, net, SETTINGS, runtime)
    assert found.shape == (regions.count, 4)
    assert not found[:, 1:3].any()
    assert_close(found.sum(dim=1), torch.ones(regions.count))
    assert (found[:, 3] > 0).all()


def test_a_mirrored_image_has_the_same_probabilities():
    data, net, runtime = Stripes(), region_net(), tiny_runtime()
    image, regions = data["a"], Regions(data.ids(), STRIPES)
    turned = TaggedImage("a", image.pixels.flip(-1), image.tags)
    with runtime.inference(net):
        plain = region_probabilities(image, regions, net, SETTINGS, runtime)
        mirrored = region_probabilities(turned, Regions(regions.ids.flip(-1), STRIPES), net, SETTINGS, runtime)
    assert_close(plain, mirrored)
    assert plain[:, 3].std() > 0, "not all regions look alike"


def test_an_image_without_tags_is_background():
    data, net, runtime = Stripes(), region_net(), tiny_runtime()
    image = TaggedImage("a", data["a"].pixels, torch.zeros(3, dtype=torch.bool))
    with runtime.inference(net):
        found = region_probabilities(image, Regions(data.ids(), STRIPES), net, SETTINGS, runtime)
    assert found.tolist() == [[1, 0, 0, 0]] * STRIPES


def test_mined_pixels_are_the_samples_that_the_classifier_is_sure_of(scenes, rounds):
    settings, runtime = tiny_rounds().mine, tiny_runtime()
    for number in (1, 2):
        em_round = Round(rounds, number)
        until = 0 if settings.context else FINE_STRIDE
        backbone = Backbone(settings.backbone, settings.output_stride, keep=kept_levels(until_stride=until))
        net = RegionNet(backbone, 6, settings.hidden, settings.dropout)
        net.load_state_dict(em_round.weights("3_mine"))
        kept = 0
        for name in scenes.names:
            regions = rounds.superpixels[name]
            labels = sharpened_labels(scenes[name], em_round.mean_soft[name], settings.max_side, tiny_rounds().crf)
            samples = region_samples(labels, regions, 7, settings.share)
            with runtime.inference(net):
                probabilities = region_probabilities(scenes[name], regions, net, settings, runtime)
            mined = confident_regions(samples, probabilities, settings.threshold)
            assert em_round.mined[name].labels.equal(mined.labels[regions.ids])
            assert set(mined.labels.tolist()) <= {*samples.tolist(), IGNORE}
            assert allowed_labels(scenes.tags(name))[samples[samples != IGNORE]].all()
            kept += int(mined.kept.sum())
        assert kept > 0


def test_the_summary_tells_of_all_images_also_after_a_stop(scenes, copied_rounds):
    em_round = Round(copied_rounds, 1)
    stage = em_round.path / "3_mine"
    state = read_json(stage / "stage.json")
    assert sum(map(int, re.findall(r"(\d+) %", state["summary"]["line"]))) in {99, 100, 101}
    expected = {path.name: path.read_bytes() for path in stage.rglob("*.png")}
    # As if it had been stopped after the training and some of the images.
    for name in scenes.names[3:]:
        (stage / "mined" / f"{name}.png").unlink()
    write_json(
        stage / "stage.json",
        {**state, "finished": False, "notes": {"curves": state["summary"]["curves"]}, "summary": {}},
    )
    weights = (stage / "weights.safetensors").stat().st_mtime_ns
    start = copied_rounds.path.parent / "tiny"
    mine_regions(
        scenes,
        Round(copied_rounds, 1, type(copied_rounds)(start)),
        tiny_rounds().mine,
        crf=tiny_rounds().crf,
        runtime=tiny_runtime(),
    )
    again = read_json(stage / "stage.json")
    assert (again["finished"], again["key"]) == (True, state["key"])
    assert {**again["summary"], "seconds": 0} == {**state["summary"], "seconds": 0}
    assert {path.name: path.read_bytes() for path in stage.rglob("*.png")} == expected
    assert (stage / "weights.safetensors").stat().st_mtime_ns == weights, "trained once"


@pytest.mark.parametrize(
    ("data", "superpixel"),
    [(Flat(), SuperpixelSettings("felzenszwalb")), (Flat(size=(3, 5)), SuperpixelSettings("slic", count=400))],
)
def test_one_region_and_a_region_for_every_pixel_are_mined(finished, tmp_path, data, superpixel):
    run = run_by_hand(tmp_path / "run", data)
    make_superpixels(data, run, superpixel)
    em_round = Round(run, 1, finished)
    for place, name in enumerate(data.names):
        write_labels(em_round.path / "2_estimate" / "masks" / f"{name}.png", torch.full(data.size, 3 * place), 3)
    unsharpened = replace(SETTINGS, threshold=0.0, sharpen=False, averaged=False)
    mine_regions(data, em_round, unsharpened, crf=CrfSettings(), runtime=tiny_runtime())
    for place, name in enumerate(data.names):
        assert set(em_round.mined[name].labels.unique().tolist()) <= {3 * place, IGNORE}
        assert em_round.mined[name].labels.shape == data.size
    kept = [int((em_round.mined[name].labels != IGNORE).sum()) for name in data.names]
    if run.superpixels["a"].count == 1:
        assert set(kept) == {0, data.size[0] * data.size[1]}, "both look alike, and one label is right"


def test_without_mining_every_pixel_is_taken(painted):
    data, em_round = painted
    settings = replace(SETTINGS, enabled=False, start_from="imagenet")
    mine_regions(data, em_round, settings, crf=CrfSettings(), runtime=tiny_runtime())
    for name in data.names:
        assert em_round.mined[name].labels.equal(em_round.unary[name])
    assert not list((em_round.path / "3_mine").glob("*.safetensors"))


def test_no_superpixel_with_one_label_is_told(painted):
    data, em_round = painted
    chequered = 3 * ((torch.arange(40)[:, None] + torch.arange(60)) % 2)
    for name in data.names:
        write_labels(em_round.path / "2_estimate" / "masks" / f"{name}.png", chequered, 3)
    settings = replace(SETTINGS, start_from="imagenet", sharpen=False, averaged=False)
    with pytest.raises(ValueError, match=r"rounds/1/3_mine: no superpixel has one label on 80% of its pixels\. Take"):
        mine_regions(data, em_round, settings, crf=CrfSettings(), runtime=tiny_runtime())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"share": 0.5}, r"MineSettings\.share: expected a number above 0\.5, got 0\.5"),
        ({"share": 1.01}, r"MineSettings\.share: expected at most 1"),
        ({"threshold": -0.1}, r"MineSettings\.threshold: expected 0 or more"),
        ({"threshold": 1.5}, r"MineSettings\.threshold: expected at most 1"),
        ({"hidden": 0}, r"MineSettings\.hidden: expected 1 or more"),
        ({"dropout": 1.0}, r"MineSettings\.dropout: expected 0 or more and below 1"),
        ({"start_from": "scratch"}, r"MineSettings\.start_from: expected one of classifier, imagenet"),
        ({"epochs": 0}, r"MineSettings\.epochs"),
    ],
)
def test_settings_that_can_not_be_are_told(change, words):
    with pytest.raises(ValueError, match=words):
        with_changes(tiny_rounds(), mine=change)


def test_presets():
    assert MineSettings().share == 0.8
    assert MineSettings.quick(images=100).epochs > MineSettings.quick(images=2000).epochs


def test_regions_are_judged_by_the_mean_of_the_scores_since_the_second_round(painted):
    _, first = painted
    own = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    for number in (1, 2):
        assert _averaged(own, Round(first.run, number), "a") is own
    kept = [torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])]
    found = kept[0]
    for number, scores in ((2, kept[0]), (3, kept[1]), (4, own)):
        em_round = Round(first.run, number)
        found = _averaged(scores, em_round, "a")
        write_region_scores(em_round.region_scores.path_of("a"), found)
    assert_close(found, torch.stack([*kept, own]).mean(dim=0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("averaged", [True, False])
def test_scores_are_kept_where_they_are_averaged(painted, finished, averaged):
    data, em_round = painted
    em_round = Round(em_round.run, 1, finished)
    settings = replace(SETTINGS, sharpen=False, averaged=averaged)
    for name in data.names:
        write_soft_mask(em_round.soft.path_of(name), soft_by_hand(data, name))
    mine_regions(data, em_round, settings, crf=CrfSettings(), runtime=tiny_runtime())
    for name in data.names:
        assert (name in em_round.region_scores) == averaged
        if averaged:
            scores = em_round.region_scores[name]
            assert scores.shape == (em_round.run.superpixels[name].count, 1 + len(data.class_names))
            assert_close(scores.sum(dim=1), torch.ones(len(scores)), rtol=0, atol=2e-3)
    em_round.check_whole(masks_only=True)
