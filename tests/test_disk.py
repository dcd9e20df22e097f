"""The disk: a file is there whole or not at all, and comes back as it was written."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.testing import assert_close

from tag2mask.disk import (
    file_digest,
    read_json,
    read_labels,
    read_unit,
    whole_file,
    write_json,
    write_labels,
    write_unit,
)
from tag2mask.labels import IGNORE, labels_from_channels


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        temporary.write_text("half")
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def break_off():
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_where_nothing_was_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "a.txt"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    with pytest.raises(Exception, match=r".*"):
        write_labels(tmp_path / "a.png", torch.zeros(2, 3, 4, 5, dtype=torch.int64), 3)
    assert list(tmp_path.iterdir()) == []


def test_json_round_trip(tmp_path):
    content = {"näme": ["a", 1, 2.5, None, True], "nested": {"x": []}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert "näme" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("damaged", [b'{"a": 1', b"", b"\xff\xfe\x00"])
def test_damaged_json_says_where_and_what_to_do(tmp_path, damaged):
    path = tmp_path / "a.json"
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="expected JSON, found a damaged file") as error:
        read_json(path)
    assert str(path) in str(error.value)
    assert "Delete it" in str(error.value)


@pytest.mark.parametrize("classes", [1, 20, 254, 255, 300, 1000])
def test_labels_come_back_exactly(tmp_path, classes):
    path = tmp_path / "deep" / "a.png"
    channels = torch.arange(classes + 1)
    labels = torch.stack([labels_from_channels(channels), torch.full_like(channels, IGNORE)])
    write_labels(path, labels, classes)
    found = read_labels(path)
    assert found.dtype == torch.int64
    assert found.equal(labels)
    with Image.open(path) as image:
        assert image.mode == ("P" if classes < 255 else "I;16")


def test_labels_have_the_colours_of_voc(tmp_path):
    write_labels(tmp_path / "a.png", torch.tensor([[0, 1, 2, IGNORE]]), 20)
    with Image.open(tmp_path / "a.png") as image:
        colours = np.array(image.convert("RGB"))[0].tolist()
    assert colours == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 5))
def test_unit_maps_come_back_to_half_a_step(tmp_path_factory, seed, height, width):
    path = tmp_path_factory.mktemp("unit") / "a.png"
    values = random(height, width, seed=seed)
    write_unit(path, values)
    assert_close(read_unit(path), values, rtol=0, atol=0.5001 / 255)


def test_zero_and_one_come_back_exactly(tmp_path):
    write_unit(tmp_path / "a.png", torch.tensor([[0.0, 1.0]]))
    assert read_unit(tmp_path / "a.png").tolist() == [[0.0, 1.0]]


def test_the_digest_is_of_the_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b") != file_digest(tmp_path / "c")
