"""Runs that were made before, looked at as a whole before anything is done with them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tag2mask.pipelines.affinitynet import AffinityNetSettings
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.runs.manifest import MANIFEST
from tag2mask.runs.places import STAGES
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.settings import nested_settings_from
from tag2mask.runs.stage_folder import state_of

if TYPE_CHECKING:
    from pathlib import Path

    from tag2mask.runs.manifest import Manifest

logger = logging.getLogger(__name__)


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
    _tell_what_does_not_count(run, manifest)
    return run


def _tell_what_does_not_count(run: RunFolder, manifest: Manifest) -> None:
    """Warn of rounds that are passed over, and of stages that belong to other settings."""
    if unfinished := run.unfinished_rounds():
        logger.warning(
            "%s: round %s was begun and is not finished, or is of other images: passed over. `tag2mask ial %s` makes "
            "it anew.",
            run.path,
            ", ".join(map(str, unfinished)),
            run.path,
        )
    for stage in STAGES:
        # Stages are called like their settings, and some depend on those of the CRF, too.
        parts = (stage.partition("_")[2], "crf")
        known = state_of(run.path / stage).get("settings", {})
        now = {name: value for part in parts for name, value in manifest.settings.get(part, {}).items()}
        if other := [name for name, value in now.items() if known.get(name, value) != value and name != "weights"]:
            logger.warning(
                "%s: made with other settings than %s has (%s): a start with these was stopped before it came here. "
                "`tag2mask run` goes on.",
                run.path / stage,
                MANIFEST,
                ", ".join(f"{name} {known[name]} instead of {now[name]}" for name in other),
            )
