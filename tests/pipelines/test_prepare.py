"""Before a run: the size to work at, and the data that a run was made from found again."""

from __future__ import annotations

import numpy as np
import pytest
from fabricate import square, write_folder, write_indexed, write_photo, write_voc

from painted import note_run
from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.source import find_source
from tag2mask.datasets.voc import VOC_CLASSES, open_voc
from tag2mask.pipelines.affinitynet import AffinityNetSettings
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.pipelines.prepare import data_of, prepare, working_side
from tag2mask.runs.manifest import Origin
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime


def test_the_working_side_is_what_the_greediest_stage_needs() -> None:
    quick = AffinityNetSettings.quick(320)
    assert working_side(quick) == 640, "views of the maps at twice the size"
    assert working_side(quick, IALSettings.quick(320)) == 640
    assert working_side(IALSettings.quick(320)) == 384, "training views at 1.2 times the size"
    assert working_side(AffinityNetSettings.paper()) == 0, "the paper shrinks nothing"


OBJECTS = {f"2007_{image:06d}": ["cow", "person"] if image < 4 else ["cow"] for image in range(8)}


NAMES = list(OBJECTS)


def voc_folder(root, **lists):
    """Eight images, which the lists share out."""
    lists = lists or {"train": NAMES[:2], "val": NAMES[6:], "trainaug": NAMES[:6]}
    return write_voc(root, OBJECTS, lists)


def run_from(path, source, class_names=VOC_CLASSES):
    """A run folder that notes a source."""
    run = RunFolder(path)
    note_run(run, origin=Origin(source=source), class_names=tuple(class_names))
    return run


def test_lists_and_tags_that_lie_elsewhere_are_noted_with_their_whole_path(tmp_path, monkeypatch):
    voc_folder(tmp_path / "voc", train=NAMES[:2], val=NAMES[6:])
    (tmp_path / "train_aug.txt").write_text("".join(f"/JPEGImages/{name}.jpg /x/{name}.png\n" for name in NAMES[:6]))
    np.save(tmp_path / "cls_labels.npy", {name: np.eye(20)[14] for name in NAMES})
    monkeypatch.chdir(tmp_path)
    source = find_source("voc", split="train_aug.txt", tags_file="cls_labels.npy")
    assert source.split == str(tmp_path / "train_aug.txt")
    assert source.tags_file == str(tmp_path / "cls_labels.npy")
    run = run_from(tmp_path / "run", source)
    monkeypatch.chdir("/")
    data = data_of(run)
    assert (data.names, data.val_names) == (tuple(NAMES[:6]), tuple(NAMES[6:]))
    assert all(data.tags(name).nonzero().flatten().tolist() == [14] for name in data.names)


def test_data_of_a_run_that_was_made_from_voc(tmp_path):
    voc_folder(tmp_path / "voc")
    run = run_from(tmp_path / "run", find_source(tmp_path / "voc"))
    assert data_of(run).names == tuple(NAMES[:6])
    assert data_of(run, split="train").names == tuple(NAMES[:2])
    (tmp_path / "voc").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match="which is not there"):
        data_of(run)
    assert data_of(run, tmp_path / "moved").val_names == tuple(NAMES[6:])
    assert data_of(run, tmp_path / "moved", split="train").names == tuple(NAMES[:2])


def test_data_of_a_run_that_notes_no_source_is_recognised(tmp_path):
    voc_folder(tmp_path / "voc")
    write_folder(tmp_path / "photos", {"a": "cow"})
    run = run_from(tmp_path / "run", None)
    assert data_of(run, tmp_path / "voc").names == tuple(NAMES[:6])
    with pytest.raises(ValueError, match=r"expected the classes of the run .*20: aeroplane.*got 1: cow \(gone: "):
        data_of(run, tmp_path / "photos")
    of_cows = run_from(tmp_path / "cows", None, ["cow"])
    assert data_of(of_cows, tmp_path / "photos").names == ("a",)
    with pytest.raises(ValueError, match="does not note where its images are"):
        data_of(run)
    with pytest.raises(ValueError, match="no option but val_fraction, got split"):
        data_of(of_cows, tmp_path / "photos", split="train")


def prepared(data, path, **more):
    """What `prepare` leaves in a run's folder."""
    run = RunFolder(path)
    settings = AffinityNetSettings.quick(64)
    prepare(data, run, settings, Runtime("cpu", "32"), **{"strict": False, "origin": Origin(), **more})
    return run


FEW = {f"{number}": "cow" if number % 2 else "" for number in range(6)}


def test_a_run_of_the_library_knows_where_its_folder_is(tmp_path):
    run = prepared(open_folder(write_folder(tmp_path / "photos", FEW), val_fraction=0.5, seed=4), tmp_path / "run")
    source = run.manifest().origin.source
    assert (source.path, source.val_fraction, source.seed) == (str((tmp_path / "photos").resolve()), 0.5, 4)
    assert len(data_of(run).val_names) == 3
    assert not (tmp_path / "photos" / "run.json").exists()


def test_a_run_of_the_library_knows_the_lists_of_voc(tmp_path, monkeypatch):
    voc_folder(tmp_path / "voc")
    (tmp_path / "some.txt").write_text("".join(f"{name}\n" for name in NAMES[:5]))
    monkeypatch.chdir(tmp_path)
    data = open_voc("voc", "some.txt", val_split="val")
    run = prepared(data, tmp_path / "run", force=True)
    monkeypatch.chdir("/")
    again = data_of(run)
    assert (again.names, again.val_names) == (data.names, data.val_names) == (tuple(NAMES[:5]), tuple(NAMES[6:]))


def test_what_a_command_has_noted_stays_and_moved_images_are_noted_anew(tmp_path):
    write_folder(tmp_path / "photos", FEW)
    asked = Origin("quick", find_source(tmp_path / "photos"))
    prepared(open_folder(tmp_path / "photos"), tmp_path / "run", origin=asked)
    (tmp_path / "photos").rename(tmp_path / "moved")
    run = prepared(open_folder(tmp_path / "moved"), tmp_path / "run")
    assert run.manifest().origin.preset == "quick"
    assert run.manifest().origin.source.path == str((tmp_path / "moved").resolve())


def test_what_no_classifier_can_learn_stops_the_library_too_unless_forced(tmp_path):
    data = open_folder(write_folder(tmp_path / "photos", dict.fromkeys("abcdef", "cow")))
    with pytest.raises(ValueError, match=r"photos: .*class on every image: cow .*force=True"):
        prepared(data, tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()
    assert prepared(data, tmp_path / "run", force=True).has_manifest()


def test_masks_that_contradict_the_tags_stop_a_run_and_bad_ones_do_not(tmp_path, caplog):
    write_folder(tmp_path / "photos", {f"{n}": ("cow", "duck", "")[n % 3] for n in range(9)})
    for number in (0, 1, 3, 4):
        write_indexed(tmp_path / "photos" / "masks" / f"{number}.png", square(2 - number % 3))
    with pytest.raises(ValueError, match="masks contradict the tags"):
        prepared(open_folder(tmp_path / "photos"), tmp_path / "run")
    for number in (0, 1, 3):
        write_indexed(tmp_path / "photos" / "masks" / f"{number}.png", square(1 + number % 3))
    (tmp_path / "photos" / "masks" / "4.png").write_bytes(b"no image")
    assert prepared(open_folder(tmp_path / "photos"), tmp_path / "run").has_manifest()
    assert "4.png" in caplog.text
    with pytest.raises(ValueError, match=r"1 true mask\(s\) cannot be used"):
        prepared(open_folder(tmp_path / "photos"), tmp_path / "run", strict=True)


def test_a_run_never_lies_where_its_images_do(tmp_path):
    data = open_folder(write_folder(tmp_path / "photos", FEW))
    for place in ("photos", "photos/images"):
        with pytest.raises(ValueError, match="expected a folder of its own"):
            prepared(data, tmp_path / place)
    for name in "abcdefgh":
        write_photo(tmp_path / "classes" / ("cow" if name < "e" else "duck") / f"{name}.png")
    with pytest.raises(ValueError, match="expected a folder of its own"):
        prepared(open_folder(tmp_path / "classes"), tmp_path / "classes" / "duck")
    assert prepared(data, tmp_path / "photos" / "runs" / "photos").has_manifest()
    assert open_folder(tmp_path / "photos").names == data.names
