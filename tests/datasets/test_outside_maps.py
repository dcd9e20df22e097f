"""Maps of other methods: what is read, what is refused and with which words."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painted import Stripes
from tag2mask.datasets.outside_maps import GIVEN_AT, open_maps
from tag2mask.labels import IGNORE
from tag2mask.ops.cam import with_background
from tag2mask.ops.seeds import labels_of_scores

SIZE = (40, 60)
HALF = np.zeros((4, 6), np.float32)
HALF[:, 3:] = 0.75


class Animals(Stripes):
    """Images a and x/b show a cow, c a cat and a cow, d nothing; v is held out."""

    val_names = ("v",)

    def __init__(self):
        super().__init__(SIZE, ("a", "x/b", "c", "d"))

    def tags(self, name):
        return torch.tensor([name == "c", False, name not in "dv"])


DATA = Animals()


def save(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


def cams_of(top, name="a", largest=(20, 30)):
    return open_maps(top, DATA).cams(DATA[name], largest)


def refused(top, *words, strict=False):
    """The message of maps that do not fit."""
    with pytest.raises(ValueError, match=r"expected|label") as found:
        open_maps(top, DATA, strict=strict)
    assert all(word in str(found.value) for word in words), found.value
    return str(found.value)


def test_an_npz_holds_an_array_for_each_class(tmp_path):
    save(tmp_path / "x" / "b.npz", cow=HALF)
    found = cams_of(tmp_path, "x/b")
    assert found.outside
    assert (found.class_ids.tolist(), found.image_size) == ([2], SIZE)
    assert found.scores.equal(torch.from_numpy(HALF)[None]), "small maps stay as they are"


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.bool_, np.int32])
def test_any_numbers_do(tmp_path, kind):
    save(tmp_path / "a.npz", cow=(HALF > 0).astype(kind))
    assert torch.unique(cams_of(tmp_path).scores).tolist() == [0, 1]


def test_arrays_of_several_sizes_are_brought_to_one_no_larger_than_maps_are_kept(tmp_path):
    large = np.zeros((80, 120), np.float32)
    large[:40] = 1
    save(tmp_path / "c.npz", cow=HALF, cat=large)
    cat, cow = cams_of(tmp_path, "c").scores
    assert cat.shape == cow.shape == (20, 30)
    assert (float(cat[:9].min()), float(cat[11:].max())) == (1, 0)
    assert (float(cow[:, 20:].min()), float(cow[:, :10].max())) == (0.75, 0)


def test_pictures_of_8_and_16_bits(tmp_path):
    picture(tmp_path / "c" / "cow.png", (HALF * 255).round().astype(np.uint8))
    picture(tmp_path / "c" / "cat.png", (HALF * 65535).round().astype(np.uint16))
    cat, cow = cams_of(tmp_path, "c").scores
    assert float((cat - cow).abs().max()) < 1 / 255
    assert cow[0].tolist() == pytest.approx([0, 0, 0, 0.75, 0.75, 0.75], abs=1 / 255)


def test_a_map_of_the_background_says_where_objects_end(tmp_path):
    background = np.array([[0.9, 0.5, 0.3, 0.0]], np.float32)
    save(tmp_path / "a.npz", cow=np.array([[0.1, 0.4, 0.6, 0.2]], np.float32), __background__=background)
    maps = cams_of(tmp_path)
    both = with_background(maps.scores, GIVEN_AT)
    assert labels_of_scores(both, maps.class_ids).tolist() == [[0, 0, 3, 3]]
    assert (both[1] / both[0])[0, :3].tolist() == pytest.approx([0.1 / 0.9, 0.8, 2.0], rel=1e-4)


def test_seeds_are_labels_and_as_maps_they_say_the_same(tmp_path):
    labels = np.array([[0, 0, 3, 3, 255, 1]], np.uint8)
    picture(tmp_path / "masks" / "a.png", labels)
    found = open_maps(tmp_path, DATA)
    seeds = found.seeds(DATA["a"])
    assert seeds.labels.shape == SIZE
    assert seeds.labels[0, ::10].tolist() == [0, 0, 3, 3, IGNORE, IGNORE], "the image has no tag of class 1"
    both = with_background(found.cams(DATA["a"], (20, 30)).scores, GIVEN_AT)[:, 0]
    assert both[:, :4].tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert float(both[0, 4]) == pytest.approx(float(both[1, 4]), abs=1e-5)
    assert float(both[:, 4:].max()) < 0.15, "unsure pixels say little"
    assert found.seeds(DATA["x/b"]) is None


def test_seeds_of_little_confidence_are_unsure(tmp_path):
    picture(tmp_path / "masks" / "a.png", np.array([[0, 3, 3]], np.uint8))
    picture(tmp_path / "confidence" / "a.png", np.array([[255, 250, 150]], np.uint8))
    found = open_maps(tmp_path, DATA)
    assert found.seeds(DATA["a"]).labels[0, ::20].tolist() == [0, 3, IGNORE]
    sure, unsure = found.cams(DATA["a"], SIZE).scores[0, 0, 1:].tolist()
    assert 0.12 < unsure < sure < 1


def test_a_class_without_a_map_is_nowhere(tmp_path, caplog):
    save(tmp_path / "c.npz", cow=HALF)
    assert cams_of(tmp_path, "c").scores[0].max() == 0
    assert "maps of 1 images lack 1 classes that the image has a tag of, which count as 0: c" in caplog.text


def test_classes_without_a_tag_are_left_out_and_told(tmp_path, caplog):
    save(tmp_path / "a.npz", cow=HALF, cat=HALF, dog=HALF)
    picture(tmp_path / "masks" / "c.png", np.array([[2, 3]], np.uint8))
    assert cams_of(tmp_path).class_ids.tolist() == [2]
    assert "maps of 2 images show 3 classes that the image has no tag of, which are left out: a, c" in caplog.text


def test_maps_that_are_faint_all_over_are_told(tmp_path, caplog):
    save(tmp_path / "a.npz", cow=HALF / 3, cat=HALF)
    save(tmp_path / "c.npz", cow=HALF / 3, cat=HALF)
    save(tmp_path / "x" / "b.npz", cow=HALF / 3, __background__=HALF)
    open_maps(tmp_path, DATA)
    assert "maps of 1 images nowhere reach 0.275" in caplog.text
    assert caplog.text.strip().endswith("by its maximum: a")


def test_files_that_fit_no_image_are_counted_and_the_first_told(tmp_path, caplog):
    save(tmp_path / "a.npz", cow=HALF)
    save(tmp_path / "v.npz", cow=HALF)
    save(tmp_path / "d.npz", cow=HALF)
    for number in range(7):
        save(tmp_path / f"far{number}.npz", cow=HALF)
    open_maps(tmp_path, DATA)
    assert "7 files fit no image: far0.npz, far1.npz, far2.npz, far3.npz, far4.npz and 2 more" in caplog.text


def test_missing_images_are_told_or_an_error(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    save(tmp_path / "a.npz", cow=HALF)
    assert open_maps(tmp_path, DATA).missing(DATA) == ["x/b", "c"], "d shows nothing, and needs none"
    assert "2 images have no map; the run makes them: x/b, c" in caplog.text
    refused(tmp_path, "2 have none: x/b, c", "without --strict", strict=True)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (HALF * 300, "expected scores in 0..1, found 0 to 225. Divide by 255."),
        ((HALF * 300).astype(np.uint8), "Divide by 255"),
        (HALF * 2, "found 0 to 1.5. Divide by the maximum."),
        (HALF - 2, "Cut off what is below 0"),
        (np.where(HALF > 0, np.nan, 0), "found NaN or infinity"),
        (np.stack([HALF, HALF]), "expected an array (h, w), found (2, 4, 6). Save one array for each class"),
        (HALF[:0], "expected an array (h, w), found (0, 6)"),
        (np.array([["a"]]), "expected an array of floats"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, array, words):
    save(tmp_path / "x" / "b.npz", cow=array)
    refused(tmp_path, "b.npz: cow: ", words)


def test_every_image_is_looked_at_and_errors_are_counted(tmp_path):
    save(tmp_path / "a.npz", cow=HALF)
    save(tmp_path / "x" / "b.npz", cow=HALF * 9)
    save(tmp_path / "c.npz", cow=HALF * 9)
    refused(tmp_path, "b.npz: cow", "(1 more images have something wrong, too.)")


def test_objects_are_never_opened(tmp_path):
    opened = []

    class Trap:
        def __reduce__(self):
            return (opened.append, (1,))

    np.savez(tmp_path / "a.npz", cow=np.array([Trap()], dtype=object))
    refused(tmp_path, "a.npz: expected arrays of numbers, found Python objects", "docs/maps.md")
    (tmp_path / "a.npz").unlink()
    np.save(tmp_path / "a.npy", {2: HALF, "trap": Trap()}, allow_pickle=True)
    words = (
        "a.npy: expected maps as npz or PNG, found a file of pickled objects (1 in all)",
        "PSA and SEAM",
        "docs/maps.md",
    )
    refused(tmp_path, *words)
    assert not opened
    save(tmp_path / "a.npz", cow=HALF)
    assert "a" in open_maps(tmp_path, DATA), "beside what it was converted to, it does no harm"


def test_classes_that_are_none_of_the_run_s(tmp_path):
    save(tmp_path / "a.npz", Cow=HALF)
    refused(tmp_path, "a.npz", "expected classes of the run (cat, dog, cow)", "found 'Cow'. Is it 'cow'?")
    (tmp_path / "a.npz").unlink()
    picture(tmp_path / "a" / "horse.png", np.zeros((2, 2), np.uint8))
    refused(tmp_path, "horse.png", "found 'horse'")


def test_pictures_that_are_no_maps(tmp_path):
    picture(tmp_path / "a" / "cow.png", np.zeros((2, 2, 3), np.uint8))
    refused(tmp_path, "cow.png: expected grey values of 8 or 16 bits, found colours (mode RGB)")
    picture(tmp_path / "a" / "cow.png", np.array([[0, 1]], np.uint8))
    refused(tmp_path, "found 0 and 1 of 255", "index PNGs go to masks/")
    (tmp_path / "a" / "cow.png").unlink()
    picture(tmp_path / "masks" / "a.png", np.array([[0, 7]], np.uint8))
    refused(tmp_path, "a.png: label 7, but 3 classes allow 0..3 and 255")


def test_broken_files(tmp_path):
    save(tmp_path / "a.npz", cow=HALF)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:-40])
    refused(tmp_path, "a.npz: expected an npz, found a broken file")


def test_two_kinds_for_one_image(tmp_path):
    save(tmp_path / "a.npz", cow=HALF)
    picture(tmp_path / "masks" / "a.png", np.array([[0, 3]], np.uint8))
    refused(tmp_path, "expected maps of one kind for a, found an npz and a PNG of seeds")


def test_a_folder_without_maps(tmp_path):
    refused(tmp_path / "nowhere", "expected a folder of maps, found nothing")
    picture(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    refused(tmp_path, "expected maps of images such as a, x/b, found none. 1 files fit no image: a.png.", "NAME.npz")


def test_the_digest_is_that_of_what_is_used(tmp_path):
    save(tmp_path / "1" / "a.npz", cow=HALF)
    first = open_maps(tmp_path / "1", DATA).digest
    save(tmp_path / "2" / "a.npz", cow=HALF)
    save(tmp_path / "2" / "far.npz", cow=HALF)
    save(tmp_path / "2" / "d.npz", cow=HALF)
    assert open_maps(tmp_path / "2", DATA).digest == first
    save(tmp_path / "2" / "a.npz", cow=HALF / 2)
    assert open_maps(tmp_path / "2", DATA).digest != first
    save(tmp_path / "3" / "c.npz", cow=HALF)
    assert open_maps(tmp_path / "3", DATA).digest != first


CONVERTERS = re.findall(
    r"```python\n(import sys.*?)```", (Path(__file__).parents[2] / "docs" / "maps.md").read_text(), re.DOTALL
)
MAPS = np.stack([HALF, HALF[:, ::-1]])
FAMILIES = {
    "PSA": ({0: MAPS[0], 2: MAPS[1]}, {}),
    "IRN": (
        {"keys": torch.tensor([0, 2]), "cam": torch.zeros(2, 1, 2), "high_res": MAPS},
        {"keys": torch.zeros(0), "high_res": MAPS[:0]},
    ),
    "CLIP-ES": (
        {"keys": np.array([0, 2]), "attn_highres": MAPS.astype(np.float16)},
        {"keys": np.array([-1]), "attn_highres": MAPS[:1]},
    ),
}
"""What the files of each family hold: of an image of a cat and a cow, and of one without objects."""


@pytest.mark.parametrize(("family", "code"), zip(FAMILIES, CONVERTERS, strict=True))
def test_the_documented_converters_make_what_is_read(tmp_path, monkeypatch, family, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog\ncow\n")
    (tmp_path / "old" / "x").mkdir(parents=True)
    for name, content in zip(("c", "x/b"), FAMILIES[family], strict=True):
        np.save(tmp_path / "old" / f"{name}.npy", content)
    monkeypatch.setattr(sys, "argv", ["convert.py", "old", "new"])
    exec(code, {})
    assert cams_of(tmp_path / "new", "c").scores.equal(torch.from_numpy(MAPS))
    assert cams_of(tmp_path / "new", "x/b").scores.max() == 0
