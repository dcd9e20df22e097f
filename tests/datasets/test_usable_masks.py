"""A data set less its bad masks: they are as if they were not there, and are told of once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from fabricate import square, write_folder, write_indexed

from tag2mask.datasets.dataset import without
from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.usable_masks import usable_masks

if TYPE_CHECKING:
    from pathlib import Path


def test_a_bad_mask_is_as_if_it_were_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, {f"{i}": "cat" if i < 3 else "dog" for i in range(5)})
    write_indexed(tmp_path / "masks" / "0.png", square(1))
    write_indexed(tmp_path / "masks" / "1.png", square(1, (8, 6)))
    write_indexed(tmp_path / "masks" / "3.png", square(77))
    whole = open_folder(tmp_path)
    data = usable_masks(whole)
    assert usable_masks(data) is data
    assert data.mask("0").equal(whole.mask("0"))
    assert [data.mask(name) for name in ("1", "2", "3")] == [None, None, None]
    assert data.bad.keys() == {"1", "3"}
    assert data.has_masks()
    assert data.digest() == whole.digest()
    with pytest.raises(ValueError, match="expected the image's size"):
        whole.mask("1")
    with caplog.at_level(logging.WARNING):
        data.tell()
        data.tell()
    (line,) = caplog.messages
    assert line.startswith("2 true mask(s) left out of the scores: mask of 1: expected the image's size (6, 8)")
    assert line.endswith("(and 1 more)")


def test_a_smaller_set_has_no_other_names(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cat", "b": "", "c": "cat"})
    data = usable_masks(without(open_folder(tmp_path), ["a"]))
    assert data.names == ("b", "c")
    assert data.first_bad() == ""
    with pytest.raises(KeyError, match="'a'"):
        data.mask("a")
