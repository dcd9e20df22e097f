"""What several tests share: one finished tiny run, which they must leave as it is."""

import shutil

import pytest

from tag2mask.data.sources import open_folder
from tag2mask.data.store import RunFolder
from tiny import source_of, tiny_folder, tiny_run


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
    return tiny_run(scenes, tmp_path_factory.mktemp("runs") / "tiny", source=source_of(scenes_folder))


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished run, with the same times, to change."""
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
