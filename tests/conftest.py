"""What several tests share: one finished tiny run and two EM rounds from it, which they must leave as they are."""

import os
import shutil

import pytest
import torch

from painted import Stripes, fill_round, run_by_hand, superpixels_by_hand
from tag2mask.datasets.folder import open_folder
from tag2mask.runs.round import Round
from tag2mask.runs.run_folder import RunFolder
from tiny import origin_of, tiny_folder, tiny_ial, tiny_run


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory):
    """Eight scenes of six classes, the second without a tag, and two held-out ones."""
    return tiny_folder(tmp_path_factory.mktemp("scenes") / "photos")


@pytest.fixture(scope="session")
def scenes(scenes_folder):
    return open_folder(scenes_folder)


@pytest.fixture(scope="session")
def finished(scenes, scenes_folder, tmp_path_factory):
    """A finished run of the scenes; read only."""
    return tiny_run(scenes, tmp_path_factory.mktemp("runs") / "tiny", origin=origin_of(scenes_folder))


@pytest.fixture(scope="session")
def rounds(scenes, finished):
    """Two EM rounds from the seeds of the finished run, in a folder beside it; read only."""
    return tiny_ial(scenes, finished.path.parent / "rounds", start=finished)


def linked_weights(source, target):
    """A copy with the same times; of weights, which nobody writes into, another name."""
    return os.link(source, target) if source.endswith(".safetensors") else shutil.copy2(source, target)


@pytest.fixture
def painted(tmp_path):
    """Images of stripes; a run with a round that was made by hand."""
    data = Stripes()
    run = run_by_hand(tmp_path, data)
    superpixels_by_hand(run, data)
    this = Round(run, 1)
    fill_round(this, data)
    return data, this


@pytest.fixture
def copied_rounds(rounds, tmp_path):
    """A copy of the finished run and of the rounds beside it, to change; gives the rounds."""
    shutil.copytree(rounds.path.parent, tmp_path / "runs", copy_function=linked_weights)
    return RunFolder(tmp_path / "runs" / "rounds")


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, with the same times, to change."""
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def threads():
    """Sets the number of torch's threads, which is put back at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
