from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fabricate import (
    square,
    tag_names,
    write_folder,
    write_indexed,
    write_photo,
)
from PIL import Image

from tag2mask.datasets.files import names_of_files
from tag2mask.datasets.folder import open_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.datasets.dataset import TagDataset


def test_a_folder_with_tags_and_masks(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "dog cat", "b": "", "in/c": "cat"})
    write_indexed(tmp_path / "masks" / "in" / "c.png", square(1))
    data: TagDataset = open_folder(tmp_path, strict=True)
    assert data.class_names == ("cat", "dog")
    assert data.names == ("a", "b", "in/c")
    assert data.val_names == ()
    assert [tag_names(data, name) for name in data.names] == [["cat", "dog"], [], ["cat"]]
    image = data["in/c"]
    assert (image.name, image.image_size) == ("in/c", (6, 8))
    assert image.pixels[:, 0, 0].tolist() == [12, 6, 0]
    assert image.tags.tolist() == [True, False]
    mask = data.mask("in/c")
    assert mask is not None
    assert np.array_equal(mask.numpy(), square(1))
    assert data.mask("a") is None
    assert data.has_masks()
    with pytest.raises(KeyError, match="no image is named 'c'"):
        data["c"]


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_any_number_of_classes(count: int, tmp_path: Path) -> None:
    classes = [f"class {i:04d}" for i in range(count)]
    write_folder(tmp_path, {f"{i:04d}": name for i, name in enumerate(classes[:20])} | {"last": classes[-1]})
    (tmp_path / "classes.txt").write_text("\n".join(classes))
    largest = count if count < 255 else count + 1
    write_indexed(tmp_path / "masks" / "last.png", square(largest))
    data = open_folder(tmp_path, strict=True)
    assert data.class_names == tuple(classes)
    assert tag_names(data, "last") == [classes[-1]]
    assert data.tags("last").shape == (count,)
    mask = data.mask("last")
    assert mask is not None
    assert mask[0, 0] == largest


@pytest.mark.parametrize(
    "text",
    [
        "image,tags\r\na.png,cow\r\n\r\nb.png,\r\n",
        "\ufeffimage,tags\na.png,cow\nb.png,\n",
        'image,tags\n"a.png","cow"\n"b.png",""',
        "Tags , author, Image\ncow,me,a\n,you,b\n",
        "image;tags\na.png;cow\nb.png;\n",
        "image\ttags\na.png\tcow\nb.png\t\n",
        "image,tags\nimages/a.png,cow\nimages\\b.png\n",
        "image,tags\n./a,cow,\nb,,\n",
    ],
)
def test_tables_as_people_write_them(text: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "", "b": ""})
    (tmp_path / "tags.csv").write_text(text, encoding="utf-8", newline="")
    data = open_folder(tmp_path, strict=True)
    assert data.class_names == ("cow",)
    assert [tag_names(data, name) for name in data.names] == [["cow"], []]


def test_commas_without_quotes_separate_tags(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": ""})
    (tmp_path / "tags.csv").write_text("image,tags\na.png,polar bear,cow\n")
    assert open_folder(tmp_path).class_names == ("cow", "polar bear")


def test_cells_may_be_bare_file_names(tmp_path: Path) -> None:
    write_folder(tmp_path, {"deep/er/a": "", "deep/b": ""})
    (tmp_path / "tags.csv").write_text("image,tags\na.png,cow\nb,cat\n")
    data = open_folder(tmp_path, strict=True)
    assert data.names == ("deep/b", "deep/er/a")
    assert tag_names(data, "deep/er/a") == ["cow"]


def test_files_with_the_same_stem_keep_their_suffix(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        write_photo(tmp_path / "images" / f"a.{suffix}")
        write_indexed(tmp_path / "masks" / f"a.{suffix}.png", square(1))
    (tmp_path / "tags.csv").write_text("image,tags\na.png,cow\na.jpg,\n")
    data = open_folder(tmp_path, strict=True)
    assert data.names == ("a.jpg", "a.png")
    assert tag_names(data, "a.png") == ["cow"]
    assert data.mask("a.jpg") is not None


def test_names_are_never_shared() -> None:
    assert names_of_files(["a.jpg", "a.jpg.png"]) == {"a": "a.jpg", "a.jpg.png": "a.jpg.png"}
    assert names_of_files(["x/a.b.jpg", "a.jpg"]) == {"a": "a.jpg", "x/a.b": "x/a.b.jpg"}


def test_tags_json(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "", "b": ""})
    (tmp_path / "tags.csv").unlink()
    (tmp_path / "tags.json").write_text(json.dumps({"a.png": ["polar bear", "cow"], "b": []}))
    data = open_folder(tmp_path, strict=True)
    assert tag_names(data, "a") == ["cow", "polar bear"]
    assert tag_names(data, "b") == []


@pytest.mark.parametrize("top", ["images", "."])
def test_a_sub_folder_per_class(top: str, tmp_path: Path) -> None:
    for call in ("cow/1", "cow/more/2", "polar bear/1", "background/3", ".hidden/4"):
        write_photo(tmp_path / top / f"{call}.png")
    write_indexed(tmp_path / "masks" / "cow" / "1.png", square(1))
    data = open_folder(tmp_path, strict=True)
    assert data.class_names == ("cow", "polar bear")
    assert data.names == ("background/3", "cow/1", "cow/more/2", "polar bear/1")
    assert [tag_names(data, name) for name in data.names] == [[], ["cow"], ["cow"], ["polar bear"]]
    assert data.mask("cow/1") is not None


def test_classes_txt_gives_the_order_and_empty_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow"})
    (tmp_path / "classes.txt").write_bytes(b"zebra\r\ncow\r\nant\r\n")
    data = open_folder(tmp_path)
    assert data.class_names == ("zebra", "cow", "ant")
    assert data.tags("a").tolist() == [False, True, False]


def test_lists_of_images(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow", "b": "cow", "c": "cow"})
    write_photo(tmp_path / "images" / "untagged.png")
    (tmp_path / "val.txt").write_text("untagged.png\nb\n")
    data = open_folder(tmp_path, strict=True)
    assert (data.names, data.val_names) == (("a", "c"), ("untagged", "b"))
    assert tag_names(data, "untagged") == []
    (tmp_path / "train.txt").write_text("c\n")
    data = open_folder(tmp_path, strict=True)
    assert (data.names, data.val_names) == (("c",), ("untagged", "b"))
    (tmp_path / "train.txt").write_text("c\nb\n")
    with pytest.raises(ValueError, match=r"found 1 in both \(b\)"):
        open_folder(tmp_path)


@pytest.mark.parametrize("before", ["", "images/", "./", "data/obj/", "{root}/images/"])
@pytest.mark.parametrize("after", ["", " 0", " 0 1 1"])
def test_lists_as_other_tools_write_them(before: str, after: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow", "b": "cow", "in/c": "cow"})
    start = before.format(root=tmp_path)
    (tmp_path / "val.txt").write_text(f"{start}a.png{after}\n{start}in/c.png{after}\n")
    data = open_folder(tmp_path, strict=True)
    assert (data.names, data.val_names) == (("b",), ("a", "in/c"))


def test_a_share_is_held_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{i:02d}": "cow" for i in range(20)})
    data = open_folder(tmp_path, val_fraction=0.25)
    assert len(data.val_names) == 5
    assert sorted(data.names + data.val_names) == [f"{i:02d}" for i in range(20)]
    assert open_folder(tmp_path, val_fraction=0.25).val_names == data.val_names
    assert open_folder(tmp_path, val_fraction=0.25, seed=1).val_names != data.val_names
    write_folder(tmp_path, {f"{i:02d}": "cow" for i in range(21)})
    moved = set(open_folder(tmp_path, val_fraction=0.25).val_names) ^ set(data.val_names)
    assert len(moved) <= 2
    assert len(open_folder(tmp_path, val_fraction=0.999).names) == 1
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="val_fraction"):
            open_folder(tmp_path, val_fraction=wrong)


def test_what_does_not_fit_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_folder(tmp_path, {"a": "cow", "broken": "cow", "gone": "cow"})
    (tmp_path / "images" / "gone.png").unlink()
    (tmp_path / "images" / "broken.png").write_text("no image")
    write_photo(tmp_path / "images" / "untagged.png")
    with caplog.at_level(logging.WARNING):
        data = open_folder(tmp_path)
    assert data.names == ("a",)
    for part in (
        "1 images have no tags: untagged",
        "1 rows name no image: gone",
        "1 images are broken: broken",
    ):
        assert part in caplog.text
    with pytest.raises(ValueError, match=r"untagged.*gone.*broken"):
        open_folder(tmp_path, strict=True)


def test_rows_for_the_same_image(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": ""})
    (tmp_path / "tags.csv").write_text("image,tags\na,cow cat\na.png,cat cow\n")
    assert tag_names(open_folder(tmp_path, strict=True), "a") == ["cat", "cow"]
    (tmp_path / "tags.csv").write_text("image,tags\na,cow cat\na.png,cow\n")
    with pytest.raises(ValueError, match=r"one row for a, found cow cat \(tags.csv, line 2\) but cow \(.*line 3"):
        open_folder(tmp_path)
    (tmp_path / "tags.csv").unlink()
    (tmp_path / "tags.json").write_text('{"a": ["cow"], "a": ["cat"]}')
    with pytest.raises(ValueError, match="one row for a"):
        open_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tags.csv": None}, "expected tags, found neither"),
        ({"tags.csv": "who,what\na,cow"}, r"tags\.csv: expected a first line .* 'who,what'"),
        ({"tags.csv": ""}, "expected a first line"),
        ({"tags.csv": "image,tags\na,"}, "at least one class"),
        (
            {"tags.csv": "image,tags\nb,cow"},
            "none of 1 rows names an image: the first says 'b', but no image is called so; images are called a.png",
        ),
        ({"tags.csv": "image,tags,by\na,cow,me,cat"}, "line 2: expected 3 columns, found 4"),
        ({"tags.csv": b"image,tags\na,\xc4\xe3\xba\xc3"}, "UTF-8"),
        ({"tags.json": "{}"}, "found tags.csv and tags.json"),
        ({"tags.csv": None, "tags.json": "[]"}, "expected an object, found an empty list"),
        ({"tags.csv": None, "tags.json": '{"a": 7}'}, "'a': expected a list of names, found 7"),
        ({"tags.csv": None, "tags.json": '{"a": {"b": 1}}'}, "expected a list of names"),
        ({"tags.csv": None, "tags.json": '{"a": '}, "expected JSON"),
        ({"classes.txt": "cat\nCow"}, r"tags\.csv, line 2: .*found 'cow'. Is it 'Cow'\?"),
        ({"tags.csv": "image,tags\na,3", "classes.txt": "cat\ncow"}, r"found '3'. Write numbers of classes as a list"),
        ({"classes.txt": "cow\ncat\ncow"}, "found cow twice"),
        ({"classes.txt": "background\ncow"}, "background is label 0"),
        ({"classes.txt": "\n"}, "expected a class name per line"),
        ({"train.txt": "gone\n"}, "at least one whole image"),
    ],
)
def test_what_stops_a_folder(files: dict[str, str | bytes | None], message: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow"})
    for name, text in files.items():
        if text is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        open_folder(tmp_path)


def test_no_folder_and_no_image(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gone: expected a folder, found nothing"):
        open_folder(tmp_path / "gone")
    with pytest.raises(ValueError, match="expected images, found none"):
        open_folder(tmp_path)


def test_a_mask_of_the_wrong_size(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow"})
    write_indexed(tmp_path / "masks" / "a.png", square(1, (8, 6)))
    with pytest.raises(ValueError, match=r"mask of a: expected the image's size \(6, 8\).*found \(8, 6\)"):
        open_folder(tmp_path).mask("a")


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow"})
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    assert open_folder(tmp_path).names == ("a",)


def test_grey_images_have_three_channels(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": "cow"})
    Image.new("L", (8, 6), 7).save(tmp_path / "images" / "a.png")
    assert open_folder(tmp_path)["a"].pixels.unique().tolist() == [7]
