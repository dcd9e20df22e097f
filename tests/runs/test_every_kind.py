"""What holds for every kind of artefact alike: it comes back, says what is missing, and goes to other processes."""

import pickle
from dataclasses import fields

import pytest
import torch

from painted import note_run
from tag2mask.labels import BACKGROUND, IGNORE
from tag2mask.records import Cams, PseudoMask, Regions, Seeds, SeedScores, SoftMask
from tag2mask.runs import artefacts
from tag2mask.runs.artefacts import Artefacts, Kind, MissingArtefactError
from tag2mask.runs.run_folder import RunFolder

KINDS = {name: kind for name, kind in vars(artefacts).items() if isinstance(kind, Kind)}

IDS = torch.tensor([1, 2])
LABELS = torch.tensor([[BACKGROUND, 1], [2, IGNORE]])
UNIT = torch.tensor([[0.0, 0.2], [0.4, 1.0]])
MAPS = torch.stack([UNIT, UNIT.flip(0)])
ODDS = torch.tensor([0.2, 0.2, 0.6])[:, None, None].expand(3, 2, 2).contiguous()

SAMPLES = {
    "CAMS": Cams("far/x", IDS, MAPS, (2, 2)),
    "SEED_SCORES": SeedScores("far/x", IDS, ODDS, ODDS.roll(1, dims=0)),
    "REGIONS": Regions(torch.tensor([[0, 0], [1, 2]]), 3),
    "REGION_SCORES": torch.tensor([[0.25, 0.5], [1.0, 0.0], [0.125, 0.75]]),
    **dict.fromkeys(["SEEDS", "MINED", "SHARPENED"], Seeds("far/x", LABELS)),
    **dict.fromkeys(["CAM_CRF", "WALKS", "UNARY_MASKS"], LABELS),
    "BOUNDARIES": UNIT,
    **dict.fromkeys(["MASKS", "PREDICTIONS", "REFINED_MASKS"], PseudoMask("far/x", LABELS, UNIT)),
    **dict.fromkeys(["UNARY_SOFT", "REFINED_SOFT"], SoftMask("far/x", IDS, ODDS, (2, 2))),
}


@pytest.fixture
def run(tmp_path):
    return note_run(RunFolder(tmp_path / "run"), class_names=("cat", "dog"), names=["far/x", "y"], val_names=["v"])


def as_dict(record):
    if isinstance(record, torch.Tensor):
        return {"": record}
    return {field.name: getattr(record, field.name) for field in fields(record)}


def assert_alike(found, expected):
    """Equal but for what the encoding rounds: steps of 1/255, float16."""
    assert type(found) is type(expected)
    for field, value in as_dict(expected).items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(as_dict(found)[field], value, atol=0.5 / 255 + 1e-3, rtol=0)
        else:
            assert as_dict(found)[field] == value


def test_every_kind_has_a_sample():
    assert set(SAMPLES) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_comes_back(run, name):
    made = Artefacts(KINDS[name], run.path, run)
    made.write("far/x", SAMPLES[name])
    assert_alike(made["far/x"], SAMPLES[name])


@pytest.mark.parametrize("name", KINDS)
def test_what_is_missing_is_listed_and_told(run, name):
    made = Artefacts(KINDS[name], run.path, run)
    made.write("far/x", SAMPLES[name])
    assert "far/x" in made
    assert made.missing(["far/x", "y"]) == ["y"]
    with pytest.raises(MissingArtefactError, match=r"expected .*y"):
        made["y"]
    with pytest.raises(ValueError, match=r"expected"):
        made.check()
    for image in ("y", *(("v",) if KINDS[name].held_out else ())):
        made.write(image, SAMPLES[name])
    made.check()


@pytest.mark.parametrize("name", KINDS)
def test_it_goes_to_another_process(run, name):
    made = Artefacts(KINDS[name], run.path, run)
    made.write("far/x", SAMPLES[name])
    there = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own bytes, as between processes
    assert_alike(there["far/x"], made["far/x"])
    assert list(there) == list(made)
