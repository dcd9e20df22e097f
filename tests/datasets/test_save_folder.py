from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import (
    square,
    write_folder,
    write_indexed,
)

from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.save_folder import save_folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "classes",
    [("cat", "cow"), ("polar bear", "cow"), ("tench, fish", "cow"), ("a;b", "c,d"), ("a ;b", "c,d|e")],
)
def test_a_saved_folder_opens_as_the_same_dataset(classes: tuple[str, ...], tmp_path: Path) -> None:
    write_folder(tmp_path / "old", {"a": "", "in/b": "", "c": "", "d": ""}, suffix=".bmp")
    (tmp_path / "old" / "tags.csv").unlink()
    rows = {"a": list(classes), "in/b": [classes[0]], "c": [], "d": []}
    (tmp_path / "old" / "tags.json").write_text(json.dumps(rows))
    (tmp_path / "old" / "val.txt").write_text("d\n")
    write_indexed(tmp_path / "old" / "masks" / "a.png", square(2))
    old = open_folder(tmp_path / "old", strict=True)
    saved = save_folder(old, tmp_path / "new")
    new = open_folder(saved, strict=True)
    assert (new.class_names, new.names, new.val_names) == (old.class_names, old.names, old.val_names)
    for name in old.names + old.val_names:
        assert new.tags(name).equal(old.tags(name))
        assert new[name].pixels.equal(old[name].pixels)
    mask = new.mask("a")
    assert mask is not None
    assert np.array_equal(mask.numpy(), square(2))
    assert [path.name for path in tmp_path.glob("*.part")] == []
    with pytest.raises(ValueError, match="expected a new or an empty folder"):
        save_folder(old, saved)
    (saved / "left over.txt").touch()
    assert open_folder(save_folder(old, saved, replace=True)).digest() == new.digest()
    assert not (saved / "left over.txt").exists()


def test_a_saved_folder_with_1000_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "old", {"a": "c999"})
    (tmp_path / "old" / "classes.txt").write_text("\n".join(f"c{i:03d}" for i in range(1000)))
    write_indexed(tmp_path / "old" / "masks" / "a.png", square(1000))
    old = open_folder(tmp_path / "old")
    new = open_folder(save_folder(old, tmp_path / "new"))
    old_mask, new_mask = old.mask("a"), new.mask("a")
    assert old_mask is not None
    assert new_mask is not None
    assert old_mask.equal(new_mask)
