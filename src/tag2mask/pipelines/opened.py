"""Runs that were made before, looked at as a whole before anything is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.pipelines.affinitynet import AffinityNetSettings
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.runs.manifest import MANIFEST
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import nested_settings_from

if TYPE_CHECKING:
    from pathlib import Path


def open_run(path: str | Path) -> RunFolder:
    """A run that was made before; nothing is made.

    Args:
        path: the folder.

    Raises:
        ValueError: if it holds no run, or one whose ``run.json`` is damaged or of another version, its settings
            included.
    """
    run = RunFolder.existing(path)
    manifest, file = run.manifest(), run.path / MANIFEST
    nested_settings_from(AffinityNetSettings, manifest.settings, f"{file}: settings", complete=manifest.is_complete)
    if manifest.ial:
        nested_settings_from(IALSettings, manifest.ial, f"{file}: ial", complete=manifest.is_complete)
    return run
