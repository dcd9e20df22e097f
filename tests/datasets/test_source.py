"""Sources: what a folder is recognised as, what a run notes of it, and that later commands find it again."""

import json
import logging

import numpy as np
import pytest
from fabricate import box_outline, write_coco, write_folder, write_voc
from PIL import Image

from painted import note_run
from tag2mask.datasets.source import check_source, find_source, open_source
from tag2mask.datasets.voc import VOC_CLASSES
from tag2mask.pipelines.affinitynet import run_affinitynet
from tag2mask.pipelines.prepare import data_of
from tag2mask.pipelines.publish import score_all
from tag2mask.runs.manifest import Origin
from tag2mask.runs.run_folder import RunFolder
from tag2mask.sources import Source
from tiny import ROWS, Slashed, tiny_runtime, tiny_settings

OBJECTS = {f"2007_{image:06d}": ["cow", "person"] if image < 4 else ["cow"] for image in range(8)}
NAMES = list(OBJECTS)


def voc_folder(root, **lists):
    """Eight images, which the lists share out."""
    lists = lists or {"train": NAMES[:2], "val": NAMES[6:], "trainaug": NAMES[:6]}
    return write_voc(root, OBJECTS, lists)


def coco_folder(root, splits=("train2014", "val2014")):
    """Two images in each split, one of them without annotations."""
    (root / "annotations").mkdir(parents=True)
    for number, split in enumerate(splits):
        found = [{"image_id": 10 * number, "category_id": 7, "segmentation": box_outline(0, 0, 3, 3)}]
        path = write_coco(root, found, split=split, first=10 * number)
        content = json.loads(path.read_text())
        for image in content["images"]:
            image["file_name"] = f"COCO_{split}_{image['file_name']}"
            (root / split / image["file_name"][-8:]).rename(root / split / image["file_name"])
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        path.unlink()
    return root


def run_from(path, source, class_names=VOC_CLASSES):
    """A run folder that notes a source."""
    run = RunFolder(path)
    note_run(run, origin=Origin(source=source), class_names=tuple(class_names))
    return run


def test_a_folder_is_what_it_always_was(tmp_path):
    write_folder(tmp_path, {"a": "cow", "b": "", "c": "cow", "d": "dog"})
    source = find_source(tmp_path, val_fraction=0.25, seed=3)
    assert source == Source("folder", str(tmp_path), 0.25, 3)
    assert len(open_source(source).val_names) == 1


@pytest.mark.parametrize("below", [".", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_recognised_and_its_largest_list_taken(below, tmp_path):
    path = voc_folder(tmp_path) / below
    source = find_source(path)
    assert source == Source("voc", str(path.resolve()), split="trainaug", val_split="val")
    data = open_source(source)
    assert (data.names, data.val_names, data.class_names) == (tuple(NAMES[:6]), tuple(NAMES[6:]), VOC_CLASSES)


@pytest.mark.parametrize(
    ("options", "split", "val_split"),
    [
        ({}, "train", "val"),
        ({"val_split": "none"}, "train", None),
        ({"split": "trainval"}, "trainval", None),
        ({"split": "val"}, "val", None),
        ({"split": "val", "val_split": "train"}, "val", "train"),
    ],
)
def test_lists_of_voc(options, split, val_split, tmp_path):
    voc_folder(tmp_path, train=NAMES[:6], val=NAMES[6:], trainval=NAMES)
    source = find_source(tmp_path, **options)
    assert (source.split, source.val_split) == (split, val_split)
    assert open_source(source).names


def test_coco_is_recognised(tmp_path):
    source = find_source(coco_folder(tmp_path))
    assert source == Source("coco", str(tmp_path), split="train2014", val_split="val2014")
    data = open_source(source)
    assert data.names == ("COCO_train2014_0000", "COCO_train2014_0001")
    assert data.val_names == ("COCO_val2014_0010", "COCO_val2014_0011")
    assert [bool(data.tags(name).any()) for name in data.names] == [True, False]
    assert data.class_names == ("cat", "dog")


def test_of_two_years_of_coco_one_has_to_be_chosen(tmp_path):
    coco_folder(tmp_path, ("train2014", "train2017", "val2017"))
    with pytest.raises(ValueError, match=r"found train2014, train2017\. Choose one with --split"):
        find_source(tmp_path)
    assert find_source(tmp_path, split="train2014").val_split is None
    assert find_source(tmp_path, split="train2017").val_split == "val2017"


def test_a_table_of_tags_comes_first(tmp_path):
    voc_folder(tmp_path)
    write_folder(tmp_path, {"a": "cow"})
    assert find_source(tmp_path).kind == "folder"


def test_options_that_do_not_go_with_a_folder(tmp_path):
    write_folder(tmp_path / "photos", {"a": "cow"})
    voc_folder(tmp_path / "voc")
    coco_folder(tmp_path / "coco")
    for path, option, known in (
        ("photos", {"split": "train"}, "val_fraction"),
        ("photos", {"tags_file": "x.npy"}, "val_fraction"),
        ("voc", {"val_fraction": 0.5}, "split, val_split, tags_file"),
        ("coco", {"tags_file": "x.npy"}, "split, val_split"),
    ):
        with pytest.raises(ValueError, match=f"no option but {known}, got {next(iter(option))}"):
            find_source(tmp_path / path, **option)
    with pytest.raises(ValueError, match="found 'video'"):
        open_source(Source("video", str(tmp_path)))


def test_check_lists_everything(tmp_path):
    voc_folder(tmp_path)
    year = tmp_path / "VOCdevkit" / "VOC2012"
    source = find_source(tmp_path)
    seen = []
    problems = check_source(source, lambda done, whole: seen.append((done, whole)))
    assert {problem.kind for problem in problems} == {"rare class", "class on every image"}
    assert [problem.kind for problem in problems if problem.subject == "cow"] == ["class on every image"]
    assert seen[-1] == (8, 8)
    (year / "JPEGImages" / f"{NAMES[0]}.jpg").unlink()
    cut_off = year / "JPEGImages" / f"{NAMES[1]}.jpg"
    noise = np.random.default_rng(0).integers(256, size=(6, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(cut_off, quality=100)
    cut_off.write_bytes(cut_off.read_bytes()[:-40])
    Image.new("RGB", (8, 6), (7, 8, 9)).save(year / "SegmentationClass" / f"{NAMES[7]}.png")
    of_classes = ("rare class", "class on every image")
    problems = [problem for problem in check_source(source) if problem.kind not in of_classes]
    assert [(problem.kind, problem.subject) for problem in problems] == [
        ("incomplete data set", str(tmp_path)),
        ("broken image", NAMES[1]),
        ("unusable mask", NAMES[7]),
    ]
    assert NAMES[0] in problems[0].message
    assert all(problem.severity == "error" and problem.remedy for problem in problems)
    (year / "ImageSets" / "Segmentation" / "trainaug.txt").unlink()
    assert [problem.kind for problem in check_source(source)] == ["unusable data set"]


def test_check_of_a_folder_is_what_it_always_was(tmp_path):
    write_folder(tmp_path, {f"{number}": "cow" for number in range(6)})
    assert [problem.kind for problem in check_source(find_source(tmp_path))] == ["class on every image"]
    assert check_source(find_source(tmp_path / "gone"))[0].kind == "unusable folder"


def test_a_mask_of_sbd_never_decides_what_is_learned(tmp_path, caplog):
    voc_folder(tmp_path)
    before = open_source(find_source(tmp_path)).digest()
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    (folder / "SegmentationClass").rename(folder / "SegmentationClassAug")
    with caplog.at_level(logging.WARNING):
        assert open_source(find_source(tmp_path)).digest() == before
    assert not caplog.text


def scenes_as_voc(root):
    """The tiny scenes in VOC's folders, as if they showed the first of its classes."""
    scenes = Slashed()
    year = root / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation"):
        (year / folder).mkdir(parents=True)
    called = {name: f"2007_{number:06d}" for number, name in enumerate((*scenes.names, *scenes.val_names))}
    for name, word in called.items():
        image = scenes[name]
        Image.fromarray(image.pixels.permute(1, 2, 0).numpy()).save(year / "JPEGImages" / f"{word}.jpg", quality=95)
        things = "".join(f"<object><name>{VOC_CLASSES[i]}</name></object>" for i in image.class_ids.tolist())
        (year / "Annotations" / f"{word}.xml").write_text(f"<annotation>{things}</annotation>")
        Image.fromarray(scenes.mask(name).numpy().astype(np.uint8)).save(year / "SegmentationClass" / f"{word}.png")
    lists = {"trainaug": scenes.names, "train": scenes.names[:3], "val": scenes.val_names}
    for split, names in lists.items():
        text = "".join(f"{called[name]}\n" for name in names)
        (year / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(text)
    return year


@pytest.mark.slow
def test_from_a_devkit_to_scores_of_all_and_of_some_images(tmp_path):
    source = find_source(scenes_as_voc(tmp_path))
    run = run_affinitynet(
        open_source(source), tmp_path / "run", tiny_settings(), runtime=tiny_runtime(), origin=Origin(source=source)
    )
    every, some = (score_all(run, data_of(run, split=split)).stages for split in (None, "train"))
    assert tuple(row.key for row in every.rows) == tuple(row.key for row in some.rows) == ROWS
    pixels = [[int(row.confusion.counts.sum()) for row in table.rows if row.key != "seeds"] for table in (every, some)]
    assert pixels[0] == [8 * 48 * 48] * 5 + [2 * 48 * 48]
    assert pixels[1] == [3 * 48 * 48] * 5 + [2 * 48 * 48]
