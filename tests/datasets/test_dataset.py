from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from fabricate import (
    write_folder,
    write_photo,
)

from tag2mask.datasets.dataset import TagDataset, unreadable, without
from tag2mask.datasets.folder import open_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_the_digest_sees_whatever_a_run_depends_on(tmp_path: Path) -> None:
    def digest() -> str:
        return open_folder(tmp_path).digest()

    write_folder(tmp_path, {"a": "cow cat", "b": "cow"})
    seen = [digest()]
    assert digest() == seen[0]
    (tmp_path / "tags.csv").write_text("image,tags\na,cow cat\nb,cat\n")
    seen.append(digest())
    (tmp_path / "classes.txt").write_text("cow\ncat\n")
    seen.append(digest())
    (tmp_path / "val.txt").write_text("b\n")
    seen.append(digest())
    write_photo(tmp_path / "images" / "a.png", shade=50)
    seen.append(digest())
    (tmp_path / "images" / "a.png").rename(tmp_path / "images" / "c.png")
    (tmp_path / "tags.csv").write_text("image,tags\nc,cow cat\nb,cat\n")
    seen.append(digest())
    assert len(set(seen)) == len(seen)


def test_a_dataset_can_go_to_another_process(tmp_path: Path) -> None:
    data = open_folder(write_folder(tmp_path, {"a": "cow"}))
    there = pickle.loads(pickle.dumps(data))  # noqa: S301
    assert (there["a"].pixels == data["a"].pixels).all()
    assert there.digest() == data.digest()


def test_without_some_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow", "b": "cat", "c": "cow"})
    (tmp_path / "val.txt").write_text("c\n")
    whole = open_folder(tmp_path)
    less: TagDataset = without(whole, ["a", "c", "never there"])
    assert (less.class_names, less.names, less.val_names) == (("cat", "cow"), ("b",), ())
    assert less.digest() != whole.digest()
    assert less["b"].tags.equal(whole.tags("b"))
    assert less.mask("b") is None
    assert not less.has_masks()
    with pytest.raises(KeyError, match="'a'"):
        less["a"]
    assert without(whole, []) is whole
    with pytest.raises(ValueError, match="at least one training image"):
        without(whole, ["a", "b"])


def test_unreadable_images_are_found(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow", "b": "cow"})
    path = tmp_path / "images" / "b.png"
    path.write_bytes(path.read_bytes()[:-30])
    data = open_folder(tmp_path)
    steps = []
    found = unreadable(data, data.names, lambda done, total: steps.append((done, total)))
    assert list(found) == ["b"]
    assert "b.png" in found["b"]
    assert steps == [(1, 2), (2, 2)]
