"""A finished run as a tool for new images, with and without the pairwise network of its last round."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tag2mask
from painted import rounds_of
from tag2mask.pipelines.predict import load, predict_files
from tag2mask.runs.manifest import ImageNames
from tag2mask.runs.round import Round
from tag2mask.runs.run_folder import RunFolder
from tag2mask.sources import Source
from tiny import (
    StoppedError,
    files_of,
    stopped_while_writing,
    tiny_ial,
    tiny_rounds,
    tiny_runtime,
    with_changes,
)


@pytest.fixture
def photos(tmp_path):
    """Four images of other kinds and sizes than the scenes."""
    folder = tmp_path / "new"
    folder.mkdir()
    Image.new("L", (40, 30), 90).save(folder / "grey.png")
    Image.new("P", (31, 57), 3).save(folder / "palette.gif")
    Image.new("RGBA", (64, 20), (10, 200, 30, 128)).save(folder / "see_through.png")
    Image.new("RGB", (300, 100), (10, 200, 30)).save(folder / "wide.jpg")
    return folder


def test_a_finished_run_predicts_new_images(finished, photos):
    trained = tag2mask.load(finished.path, runtime=tiny_runtime())
    assert trained.class_names == finished.class_names()
    sizes = {"grey.png": (30, 40), "palette.gif": (57, 31), "see_through.png": (20, 64), "wide.jpg": (100, 300)}
    for name, size in sizes.items():
        mask = trained.predict(photos / name)
        assert mask.name == Path(name).stem
        assert mask.labels.shape == mask.confidence.shape == size
        assert int(mask.labels.max()) <= 6


def test_a_prediction_is_that_of_the_run(scenes, scenes_folder, finished):
    trained = tag2mask.load(finished.path, runtime=tiny_runtime())
    name = scenes.val_names[0]
    mask = trained.predict(scenes_folder / "images" / f"{name}.png")
    assert mask.labels.equal(finished.predictions[name].labels)


def test_predicted_files_have_the_size_of_their_images(finished, photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no image")
    done, failed = predict_files(finished, [photos], tmp_path / "out", tiny_runtime())
    assert (done, failed) == (4, 1)
    for name, size in (("grey", (40, 30)), ("palette", (31, 57)), ("see_through", (64, 20)), ("wide", (300, 100))):
        with Image.open(tmp_path / "out" / "masks" / f"{name}.png") as image:
            assert (image.mode, image.size) == ("P", size)
            assert np.array(image).max() <= 6
        with Image.open(tmp_path / "out" / "confidence" / f"{name}.png") as image:
            assert (image.mode, image.size) == ("L", size)
        with Image.open(tmp_path / "out" / "overlays" / f"{name}.jpg") as image:
            assert image.size == size
    with pytest.raises(ValueError, match=r"broken\.png"):
        predict_files(finished, [photos], tmp_path / "out", tiny_runtime(), strict=True)


def test_images_of_one_name_do_not_overwrite_each_other(finished, tmp_path):
    for folder, suffix in (("a", "png"), ("a", "gif"), ("b", "png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / folder / f"same.{suffix}")
    files = [tmp_path / "a" / "same.png", tmp_path / "b" / "same.png", tmp_path / "a" / "same.gif"]
    done, _ = predict_files(finished, files, tmp_path / "out", tiny_runtime())
    assert done == 3
    assert len(list((tmp_path / "out" / "masks").rglob("*.png"))) == 3


def test_nothing_to_predict_is_told(finished, tmp_path):
    with pytest.raises(ValueError, match="expected images, found none"):
        predict_files(finished, [tmp_path], tmp_path / "out", tiny_runtime())
    with pytest.raises(ValueError, match="found nothing there"):
        predict_files(finished, [tmp_path / "missing.png"], tmp_path / "out", tiny_runtime())


def test_only_a_finished_run_can_be_loaded(copied, tmp_path):
    (copied.path / "06_segment" / "stage.json").unlink()
    with pytest.raises(ValueError, match="expected a finished run"):
        tag2mask.load(copied.path)
    with pytest.raises(ValueError, match="expected a"):
        tag2mask.load(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists(), "looking at a run makes none"


def test_a_run_that_chose_channels_reads_new_images_alike(copied, tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "plain.png")
    Image.fromarray(colours[..., ::-1].copy()).save(tmp_path / "turned.png")
    plain = load(copied.path, runtime=tiny_runtime()).predict(tmp_path / "plain.png")
    manifest = copied.manifest()
    source = Source("folder", str(tmp_path), channels=(3, 2, 1))
    note = replace(manifest, origin=replace(manifest.origin, source=source))
    copied.write_manifest(note, ImageNames(tuple(copied.names()), tuple(copied.names("val"))))
    trained = load(copied.path, runtime=tiny_runtime())
    assert trained.channels == (3, 2, 1)
    assert trained.predict(tmp_path / "turned.png").confidence.equal(plain.confidence)
    assert not trained.predict(tmp_path / "plain.png").confidence.equal(plain.confidence)
    assert predict_files(copied, [tmp_path / "turned.png"], tmp_path / "out", tiny_runtime()) == (1, 0)
    with Image.open(tmp_path / "out" / "masks" / "turned.png") as image:
        assert np.array_equal(np.array(image), plain.labels.numpy())


def test_of_a_data_set_only_the_images_are_predicted_and_true_masks_stay(finished, scenes_folder, tmp_path):
    shutil.copytree(scenes_folder, tmp_path / "data")
    truths = files_of(tmp_path / "data" / "masks")
    assert predict_files(finished, [tmp_path / "data"], tmp_path / "out", tiny_runtime()) == (10, 0)
    for out in (tmp_path / "data", tmp_path / "data" / "images"):
        with pytest.raises(ValueError, match="expected a folder of its own for the predicted masks"):
            predict_files(finished, [tmp_path / "data"], out, tiny_runtime())
    assert files_of(tmp_path / "data" / "masks") == truths
    inside = tmp_path / "data" / "images" / "new"
    assert predict_files(finished, [tmp_path / "data"], inside / "out", tiny_runtime()) == (10, 0)
    assert predict_files(finished, [tmp_path / "data"], inside / "out", tiny_runtime()) == (10, 0), (
        "not its own pictures"
    )


def start_of(run):
    """The finished run beside copied rounds."""
    return RunFolder(run.path.parent / "tiny")


def test_the_last_round_predicts(scenes, scenes_folder, rounds, tmp_path):
    trained = load(rounds.path, runtime=tiny_runtime())
    assert trained.class_names == rounds.class_names()
    last, name = Round(rounds, 2), scenes.val_names[0]
    path = scenes_folder / "images" / f"{name}.png"
    assert trained.predict(path).labels.equal(last.unary[name])
    assert trained.predict(path, refine=True).labels.equal(last.masks[name].labels)
    spread = trained.predict(path, refine=True).confidence
    assert not spread.equal(trained.predict(path).confidence), "refining changes something"


def test_files_are_predicted_refined_or_not(rounds, scenes_folder, tmp_path):
    images = scenes_folder / "images" / "new"
    for refine in (False, True):
        assert predict_files(rounds, [images], tmp_path / str(refine), tiny_runtime(), refine=refine) == (2, 0)
    plain, refined = (files_of(tmp_path / str(refine)) for refine in (False, True))
    assert plain.keys() == refined.keys()
    assert plain != refined


def test_a_round_that_was_stopped_does_not_predict_with_its_new_settings(scenes, copied_rounds):
    wider = with_changes(tiny_rounds(), unary={"width": 24})
    with pytest.raises(StoppedError), stopped_while_writing("rounds/0_superpixels", 1):
        tiny_ial(
            scenes, copied_rounds.path, with_changes(wider, superpixels={"count": 20}), start=start_of(copied_rounds)
        )
    assert copied_rounds.manifest().ial["unary"]["width"] == 24
    trained = load(copied_rounds.path, runtime=tiny_runtime())
    assert trained.settings.width == 16, "the finished rounds are still those of the old settings"
    with pytest.raises(StoppedError), stopped_while_writing("1_unary/weights", 1):
        tiny_ial(scenes, copied_rounds.path, wider, start=start_of(copied_rounds))
    assert rounds_of(copied_rounds) == 0
    with pytest.raises(ValueError, match="expected a finished run, its segmenter is not trained"):
        load(copied_rounds.path)


def test_refining_without_rounds_is_told(finished, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    trained = load(finished.path, runtime=tiny_runtime())
    with pytest.raises(ValueError, match=r"expected a pairwise network to refine with, found none\. Make one with"):
        trained.predict(tmp_path / "a.png", refine=True)
    with pytest.raises(ValueError, match="expected a pairwise network"):
        predict_files(finished, [tmp_path / "a.png"], tmp_path / "out", tiny_runtime(), refine=True)
    assert not (tmp_path / "out").exists()


def test_without_its_weights_a_round_does_not_predict(copied_rounds):
    (copied_rounds.path / "rounds/2/4_pairwise/weights.safetensors").unlink()
    with pytest.raises(ValueError, match="expected trained weights"):
        load(copied_rounds.path)
