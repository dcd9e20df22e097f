"""Segments of other methods: COCO's run lengths, decoded as pycocotools does, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as run_lengths

from painted import Stripes
from tag2mask.datasets.outside_segments import decoded, open_segments

DATA = Stripes((6, 8), ("a", "x/b"))


def code_of(inside):
    code = run_lengths.encode(np.asfortranarray(inside, dtype=np.uint8))
    return {"size": code["size"], "counts": code["counts"].decode()}


def rows(first, last, size=(6, 8)):
    inside = np.zeros(size, np.uint8)
    inside[first:last] = 1
    return inside


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_those_of_pycocotools(seed):
    generator = np.random.default_rng(seed)
    size = generator.integers(1, 90, 2)
    inside = generator.random(size) < generator.random()
    if seed % 2:
        inside = np.kron(inside[:4, :4], np.ones((23, 31), bool))
    assert decoded(code_of(inside), "").numpy().tolist() == inside.tolist()
    runs = np.diff(np.flatnonzero(np.diff(inside.T.ravel(), prepend=~inside[0, 0], append=~inside[-1, -1])))
    plain = [0] * bool(inside[0, 0]) + runs.tolist()
    assert decoded({"size": list(map(int, inside.shape)), "counts": plain}, "").numpy().tolist() == inside.tolist()


@pytest.mark.parametrize("counts", [[1, 2], [1, -1, 48], [40, 9], "", "32", "~~~", "é", [1.5, 46.5]])
def test_damaged_run_lengths(counts):
    with pytest.raises(ValueError, match="here: expected runs of 6 x 8 pixels in all, found others"):
        decoded({"size": [6, 8], "counts": counts}, "here")


@pytest.mark.parametrize("form", ["coco", "names"])
def test_smaller_segments_lie_on_top_and_the_rest_is_in_none(tmp_path, form):
    codes = [code_of(rows(0, 2)), code_of(rows(0, 4))]
    content = {"x/b": codes}
    if form == "coco":
        images = [{"id": 7, "file_name": "x/b.jpg"}, {"id": 8, "file_name": "a.jpg"}]
        content = {"images": images, "annotations": [{"image_id": 7, "segmentation": code} for code in codes]}
    found = open_segments(write(tmp_path / "s.json", content), DATA)
    assert "a" not in found
    assert found.ids("x/b", (6, 8))[:, 0].tolist() == [0, 0, 1, 1, -1, -1]
    assert found.ids("x/b", (12, 4))[:, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, -1, -1, -1, -1]


def test_missing_images_are_told_or_an_error(tmp_path, caplog):
    file = write(tmp_path / "s.json", {"a": [code_of(rows(0, 2))], "far": []})
    open_segments(file, DATA)
    assert "1 images fit no image: far" in caplog.text
    assert "1 images have no segments; the run makes superpixels: x/b" in caplog.text
    with pytest.raises(ValueError, match="1 have none: x/b"):
        open_segments(file, DATA, strict=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "a list instead of an object"),
        ({"far": []}, "expected segments of images such as a, x/b, found far"),
        ({"a": [[1, 2, 3, 4, 5, 6]]}, "found polygons"),
        ({"a": [{"counts": "12"}]}, "expected run lengths, found {'counts': '12'}"),
        (
            {"a": [code_of(rows(0, 2)), code_of(rows(0, 2, (5, 5)))]},
            r"expected one size, found \(6, 8\), \(5, 5\)|\(5, 5\), ",
        ),
        ({"images": [], "annotations": [{"image_id": 3}]}, "damaged entry"),
        ({"a": [{"size": [6, 8], "counts": "32"}]}, "segments of a: expected runs of 6 x 8 pixels"),
    ],
)
def test_files_that_do_not_fit(tmp_path, content, words):
    with pytest.raises(ValueError, match=words):
        open_segments(write(tmp_path / "s.json", content), DATA)


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="expected a JSON file of segments, found none"):
        open_segments(tmp_path / "s.json", DATA)


def test_ids_are_whole_numbers(tmp_path):
    found = open_segments(write(tmp_path / "s.json", {"a": [code_of(rows(0, 6))]}), DATA)
    assert found.ids("a", (6, 8)).dtype == torch.int64
