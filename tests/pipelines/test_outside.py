"""Maps and segments of other methods, end to end: written with numpy and Pillow alone, and run through the pipeline."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pycocotools import mask as run_lengths
from safetensors.torch import save_file

from tag2mask.labels import IGNORE, labels_from_class_ids
from tag2mask.pipelines import outside as pipeline
from tag2mask.pipelines.affinitynet import AffinityNetSettings
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.pipelines.outside import rounds_without_classifier, without_classifier
from tag2mask.pipelines.presets import Asked, Method, run_as_asked
from tag2mask.runs.manifest import Origin
from tag2mask.runs.places import CLASSIFY, STAGES, SUPERPIXELS
from tag2mask.scores.score import score
from tag2mask.weights import starting
from tiny import times_of, tiny_ial, tiny_rounds, tiny_run, tiny_runtime, tiny_settings

SCRATCH = tiny_settings(classify=replace(tiny_settings().classify, epochs=1))
"""All networks start from the classifier, which starts from random weights."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file that is taken for ImageNet weights of the tiny backbone."""
    path = tmp_path_factory.mktemp("weights") / "resnet10t.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("resnet10t", pretrained=False).state_dict(), str(path))
    return path


@pytest.fixture(scope="module")
def settings(weights):
    """The classifier starts from these weights, the others from the classifier."""
    return replace(SCRATCH, classify=replace(SCRATCH.classify, start_from="imagenet", weights=str(weights)))


def truth_of(data, name):
    return data.mask(name).numpy()


def write_arrays(data, top, names=None, *, scale=1.0, size=31):
    """An npz for each image: its true masks, blurred by being small, and a class that the image has no tag of."""
    for name in names if names is not None else data.names:
        path = top / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for class_id in np.flatnonzero(data.tags(name).numpy()):
            inside = Image.fromarray((truth_of(data, name) == class_id + 1).astype(np.uint8) * 255)
            arrays[data.class_names[class_id]] = scale * np.asarray(inside.resize((size, size)), np.float32) / 255
        np.savez(path, **arrays)
    return top


def write_pictures(data, top):
    """A grey PNG for each class of each image, of 8 and of 16 bits in turns."""
    for place, name in enumerate(data.names):
        for class_id in np.flatnonzero(data.tags(name).numpy()):
            path = top / name / f"{data.class_names[class_id]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            inside = truth_of(data, name) == class_id + 1
            deep = inside.astype(np.uint16) * 65535
            Image.fromarray(deep if place % 2 else (inside * 255).astype(np.uint8)).save(path)
    return top


def write_seeds(data, top, *, confidence=False):
    """Index PNGs of the true masks, unsure in a column."""
    for name in data.names:
        labels = truth_of(data, name).astype(np.uint8)
        labels[:, :4] = 255
        for folder, values in (("masks", labels), ("confidence", np.full(labels.shape, 230, np.uint8))):
            if folder == "masks" or confidence:
                path = top / folder / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(path)
    return top


def write_segments(data, path, names):
    """COCO's run lengths of two halves, made by pycocotools."""
    images, annotations = [], []
    for number, name in enumerate(names):
        images.append({"id": number, "file_name": f"{name}.png", "height": 48, "width": 48})
        for rows in (slice(0, 10), slice(10, 30)):
            inside = np.zeros((48, 48), np.uint8, order="F")
            inside[rows] = 1
            code = run_lengths.encode(inside)
            code["counts"] = code["counts"].decode()
            annotations.append({"image_id": number, "segmentation": code})
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def lines(caplog):
    return "\n".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("write", [write_arrays, write_pictures, write_seeds])
def test_maps_of_every_image_stand_for_stages_1_and_2(scenes, settings, tmp_path, write, caplog):
    caplog.set_level(logging.INFO)
    maps = write(scenes, tmp_path / "maps")
    run = tiny_run(scenes, tmp_path / "run", settings, maps=maps)
    assert sorted(run.stage_summaries()) == sorted(set(STAGES) - {CLASSIFY})
    assert "01_classify: left out, every image with a tag has a map" in lines(caplog)
    assert run.stage_summaries()["02_localize"].line == "outside maps of 7 images"
    table = {row.key: row for row in score(run, scenes).rows}
    assert list(table)[:3] == ["outside", "cam_crf", "seeds"]
    assert table["outside"].title == "outside maps"
    assert table["outside"].confusion.mean_iou() > 0.6, "they are the true masks, more or less"
    assert table["cam_crf"].confusion.mean_iou() > 0.4, "and so is what is made of them, less what the CRF takes away"
    assert table["seeds"].mean_precision > 0.8
    for name in scenes.names:
        allowed = labels_from_class_ids(scenes.tags(name).nonzero().flatten()).tolist()
        assert set(run.masks[name].labels.unique().tolist()) <= {0, *allowed}
    noted = run.manifest().maps
    assert noted.path == str(maps)
    assert noted.digest in (run.path / "02_localize" / "stage.json").read_text()


def test_seeds_are_taken_as_they_are_and_the_affinity_learns_from_them(scenes, settings, tmp_path):
    run = tiny_run(scenes, tmp_path / "run", settings, maps=write_seeds(scenes, tmp_path / "maps"))
    for name in scenes.names:
        expected = torch.from_numpy(truth_of(scenes, name)).clone()
        if bool(scenes.tags(name).any()):
            expected[:, :4] = IGNORE
        assert run.seeds[name].labels.equal(expected)
        cells = run.seed_scores[name]
        assert cells.low[0, :, :2].min() == 1, "unsure is background at the low alpha"
        assert cells.high[0, :, :2].max() == (0 if len(cells.class_ids) else 1), "and an object at the high one"


def test_a_second_run_does_nothing_and_changed_maps_redo_what_depends_on_them(scenes, settings, tmp_path, caplog):
    maps = write_arrays(scenes, tmp_path / "maps")
    run = tiny_run(scenes, tmp_path / "run", settings, maps=maps)
    before = times_of(run.path)
    moved = maps.rename(tmp_path / "moved")
    tiny_run(scenes, run.path, settings, maps=moved)
    after = times_of(run.path)
    assert {name for name in after if after[name] != before.get(name)} <= {"run.json"}, "where maps lie does not count"
    write_arrays(scenes, moved, scenes.names[:1], scale=0.5)
    caplog.clear()
    tiny_run(scenes, run.path, settings, maps=moved)
    assert "02_localize: settings changed: outside_maps" in lines(caplog)
    assert {path.name for path in run.path.iterdir() if ".replaced-" in path.name} == {
        f"{stage}.replaced-1" for stage in set(STAGES) - {CLASSIFY}
    }, "nothing is deleted"
    assert float(run.cams[scenes.names[0]].scores.max()) == pytest.approx(0.5, abs=0.01)


def test_images_without_a_map_get_the_run_s_own(scenes, settings, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    given = (scenes.names[0], scenes.names[3])
    maps = write_arrays(scenes, tmp_path / "maps", given)
    run = tiny_run(scenes, tmp_path / "run", settings, maps=maps)
    assert [name for name in scenes.names if run.cams[name].outside] == list(given)
    assert CLASSIFY in run.stage_summaries()
    assert "a classifier is trained, although there are maps: 5 images have no map" in lines(caplog)
    rows = score(run, scenes).rows
    assert [row.key for row in rows[:2]] == ["outside", "cam"]
    assert [row.note.partition(", ")[2] for row in rows[:2]] == [
        "the 2 images with such maps",
        "the 5 images with such maps",
    ]
    with pytest.raises(ValueError, match=r"5 have none: wild/scene_0002, .* Add them"):
        tiny_run(scenes, tmp_path / "strict", settings, maps=maps, strict=True)
    assert not (tmp_path / "strict").exists()


def test_own_maps_are_those_of_a_run_without_outside_maps(scenes, tmp_path):
    maps = write_arrays(scenes, tmp_path / "maps", scenes.names[:1])
    without_fence = replace(SCRATCH, localize=replace(SCRATCH.localize, fence=0))
    run = tiny_run(scenes, tmp_path / "run", without_fence, maps=maps)
    plain = tiny_run(scenes, tmp_path / "plain", without_fence)
    for name in scenes.names[1:]:
        assert run.cams[name].scores.equal(plain.cams[name].scores)
    assert not run.cams[scenes.names[0]].scores.equal(plain.cams[scenes.names[0]].scores)


def test_a_classifier_that_is_there_is_used_and_one_that_does_not_fit_is_set_aside(
    scenes, settings, copied, tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    maps = write_arrays(scenes, tmp_path / "maps")
    before = times_of(copied.path / CLASSIFY)
    tiny_run(scenes, copied.path, maps=maps)
    assert times_of(copied.path / CLASSIFY) == before
    assert "the classifier of this folder is used" in lines(caplog)
    assert "02_localize: settings changed: outside_maps None -> " in lines(caplog)
    tiny_run(scenes, copied.path, settings, maps=maps)
    assert not (copied.path / CLASSIFY).exists()
    assert (copied.path / f"{CLASSIFY}.replaced-1" / "weights.safetensors").is_file()


def test_networks_that_need_the_classifier_have_it_trained(scenes, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run = tiny_run(scenes, tmp_path / "run", SCRATCH, maps=write_arrays(scenes, tmp_path / "maps"))
    assert CLASSIFY in run.stage_summaries()
    assert "affinity, segment would start from its weights, and no ImageNet weights" in lines(caplog)


def test_with_installed_weights_networks_start_from_them(scenes, weights, tmp_path, monkeypatch):
    for module in (pipeline, starting):
        monkeypatch.setattr(module, "installed_file", lambda name: weights if name == "resnet10t" else None)
    run = tiny_run(scenes, tmp_path / "run", SCRATCH, maps=write_arrays(scenes, tmp_path / "maps"))
    assert CLASSIFY not in run.stage_summaries()
    assert run.manifest().settings["affinity"]["start_from"] == "imagenet"
    assert run.manifest().settings["affinity"]["new_factor"] == 10


def test_without_a_classifier_values_of_auto_are_judged_by_colours_and_size(scenes, settings, tmp_path):
    automatic = replace(
        settings,
        seed=replace(settings.seed, alpha_object="auto", alpha_background="auto"),
        walk=replace(settings.walk, alpha="auto", beta="auto", steps="auto"),
    )
    run = tiny_run(scenes, tmp_path / "run", automatic, maps=write_arrays(scenes, tmp_path / "maps"))
    assert CLASSIFY not in run.stage_summaries()
    for stage in ("03_seed", "05_walk"):
        evidence = run.stage_summaries()[stage].evidence
        assert {row[evidence.columns.index("kept - left")] for row in evidence.rows} == {"1.000"}
    assert {net.start_from for net in without_classifier(settings).nets().values()} == {"imagenet"}


def test_rounds_without_a_classifier_start_from_other_weights_or_say_what_they_need():
    rounds, first = IALSettings.quick(320), AffinityNetSettings.quick(320).classify
    with pytest.raises(ValueError, match=r"unary, mine, pairwise would start from.*--set unary\.start_from=imagenet"):
        rounds_without_classifier(rounds, first)
    begun = rounds_without_classifier(rounds, replace(first, start_from="imagenet"))
    assert begun.rounds == rounds.rounds
    assert {net.start_from for net in begun.nets().values()} == {"imagenet"}


def test_rounds_from_outside_seeds_and_segments(scenes, settings, tmp_path):
    rounds = replace(tiny_rounds(), rounds=replace(tiny_rounds().rounds, count=1))
    maps = write_seeds(scenes, tmp_path / "maps", confidence=True)
    segments = write_segments(scenes, tmp_path / "segments.json", scenes.names[:3])
    run = tiny_ial(scenes, tmp_path / "run", rounds, first=settings, maps=maps, segments=segments)
    assert run.last_round().number == 1
    assert CLASSIFY not in run.stage_summaries()
    halves = run.superpixels[scenes.names[0]]
    assert halves.ids[:10].unique().tolist() == [0]
    assert halves.ids[10:30].unique().tolist() == [1]
    assert halves.ids[30:].min() == 2
    assert halves.count > 3, "the rest is superpixels"
    assert run.superpixels[scenes.names[5]].count > 10
    assert run.manifest().segments.path == str(segments)
    before = times_of(run.path / SUPERPIXELS)
    again = {"first": settings, "maps": maps}
    tiny_ial(scenes, run.path, rounds, **again, segments=segments)
    assert times_of(run.path / SUPERPIXELS) == before
    write_segments(scenes, segments, scenes.names[:2])
    tiny_ial(scenes, run.path, rounds, **again, segments=segments)
    assert run.superpixels[scenes.names[2]].count > 10
    # Rounds on the finished run, in another folder: it has no classifier.
    beside = tiny_ial(scenes, tmp_path / "beside", rounds, start=run)
    assert beside.last_round().number == 1
    assert beside.manifest().segments is None


def test_segments_without_rounds_are_told(scenes, tmp_path):
    asked = Asked(Origin(), Method.AFFINITYNET, segments=tmp_path / "segments.json")
    with pytest.raises(ValueError, match="need --method ial"):
        run_as_asked(scenes, tmp_path / "run", asked, tiny_runtime())
