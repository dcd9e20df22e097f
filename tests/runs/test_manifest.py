"""What a run says of itself: today's, that of version 0.1.0, and files that are neither."""

import json

import pytest

from tag2mask.runs.manifest import (
    SCHEMA_VERSION,
    BackboneStart,
    ImageNames,
    Manifest,
    Origin,
    read_manifest,
    read_names,
    write_manifest,
)

OLD = {
    "class_names": ["cat", "dog"],
    "digest": "d",
    "seed": 3,
    "names": ["x", "far/y"],
    "val_names": ["v"],
    "preset": "quick",
    "settings": {"classify": {"epochs": 2}},
}


def write_old(run, **facts):
    run.mkdir()
    (run / "run.json").write_text(json.dumps(OLD | facts))


def test_it_comes_back(tmp_path):
    run = tmp_path / "run"
    manifest = Manifest(
        ("cat",),
        "d",
        seed=4,
        skipped={"z": "broken"},
        origin=Origin("paper", None, BackboneStart("resnet38", False, "w")),
    )
    write_manifest(run, manifest, ImageNames(("x",), ("v",)))
    assert read_manifest(run) == manifest
    assert read_names(run) == ImageNames(("x",), ("v",), "d")


def test_names_are_not_in_the_file_that_scores_read(tmp_path):
    write_manifest(tmp_path / "run", Manifest(("cat",), "d"), ImageNames(("an_image",), ()))
    assert "an_image" not in (tmp_path / "run/run.json").read_text()


def test_a_folder_of_0_1_0_opens_and_is_brought_up_to_date(tmp_path):
    run = tmp_path / "run"
    write_old(run)
    manifest = read_manifest(run)
    assert (manifest.class_names, manifest.seed, manifest.origin.preset) == (("cat", "dog"), 3, "quick")
    assert manifest.schema_version == 1
    assert read_names(run) == ImageNames(("x", "far/y"), ("v",))
    write_manifest(run, manifest)
    assert read_manifest(run).schema_version == SCHEMA_VERSION
    assert read_names(run) == ImageNames(("x", "far/y"), ("v",), "d")


def test_a_newer_file_asks_for_a_newer_package(tmp_path):
    write_old(tmp_path / "run", schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(ValueError, match="newer"):
        read_manifest(tmp_path / "run")


@pytest.mark.parametrize("facts", [{"seed": "three"}, {"class_names": 7}, {"settings": []}, {"unheard_of": 1}])
def test_wrong_and_unknown_fields_are_told_by_name(tmp_path, facts):
    write_old(tmp_path / "run", schema_version=SCHEMA_VERSION, **facts)
    content = json.loads((tmp_path / "run/run.json").read_text())
    for key in ("names", "val_names", "preset"):
        del content[key]
    (tmp_path / "run/run.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=next(iter(facts))):
        read_manifest(tmp_path / "run")


@pytest.mark.parametrize("text", ["[]", "{", "{}"])
def test_a_damaged_file_says_where(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json"):
        read_manifest(tmp_path)


def test_names_of_other_data_are_refused(tmp_path):
    write_manifest(tmp_path / "run", Manifest(("cat",), "d"), ImageNames(("x",), ()))
    content = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps(content | {"digest": "other"}))
    with pytest.raises(ValueError, match=r"names\.json.*other data"):
        read_names(tmp_path / "run")
