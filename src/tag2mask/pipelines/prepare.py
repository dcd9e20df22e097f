"""Before a pipeline begins: a look at everything that could stop it later, working copies, and ``run.json``."""

from __future__ import annotations

import logging
import math
import platform
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tag2mask.datasets.dataset import unreadable, without
from tag2mask.datasets.source import check_options, find_source, open_source
from tag2mask.datasets.working_copies import WorkingCopies
from tag2mask.progress import progress_bar
from tag2mask.runs.settings import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import DataclassInstance

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime

logger = logging.getLogger(__name__)


def working_copies(data: TagDataset, *settings: Any) -> TagDataset:
    """Images no larger than any stage needs, decoded once as far as they fit into memory.

    Args:
        data: images of any size.
        settings: of pipelines: dataclasses that hold the settings of stages.
    """
    return WorkingCopies(data, working_side(*settings))


def working_side(*settings: Any) -> int:
    """The longest side in pixels at which any stage looks at an image; 0 if one of them has no limit.

    Args:
        settings: of pipelines.
    """
    parts = (getattr(whole, part.name) for whole in settings for part in fields(whole))
    sides = [side for part in parts for side in _sides(part)]
    return math.ceil(max(sides)) if min(sides, default=0) > 0 else 0


def _sides(stage: Any) -> Iterator[float]:
    """The sides at which one stage looks at images; 0 means the image's own size."""
    if hasattr(stage, "long_side"):  # Of training views.
        yield stage.long_side[1]
    if hasattr(stage, "max_side"):
        yield stage.max_side * max(getattr(stage, "scales", (1,)))
    if hasattr(stage, "cells"):
        yield stage.cells * stage.output_stride


def prepare(
    data: TagDataset,
    run: RunFolder,
    settings: DataclassInstance,
    runtime: Runtime,
    *,
    strict: bool,
    **facts: Any,
) -> TagDataset:
    """Look at everything that could stop a run hours later, and write ``run.json``.

    Returns:
        The data less the images that cannot be read.

    Raises:
        ValueError: see `run_affinitynet`.
    """
    digest = data.digest()
    known = run.record() if (run.path / "run.json").is_file() else {}
    if known.get("digest") == digest and "skipped" in known:
        broken = dict(known["skipped"])
    else:
        names = (*data.names, *data.val_names)
        with progress_bar("reading every image once", len(names)) as advance:
            broken = unreadable(data, names, lambda _done, _total: advance(1, ""))
    if broken and strict:
        raise ValueError(
            f"{len(broken)} image(s) cannot be read, the first: {next(iter(broken.values()))} "
            "Mend or remove them, or run without --strict to leave them out."
        )
    for message in broken.values():
        logger.warning("left out: %s", message)
    data = without(data, broken) if broken else data
    if not data.names:
        raise ValueError("no image to train on: expected at least one readable image with a row of tags.")
    if not any(bool(data.tags(name).any()) for name in data.names):
        raise ValueError("no image has a tag: expected at least one. Without tags there is nothing to learn.")
    run.write_record(
        class_names=list(data.class_names),
        names=list(data.names),
        val_names=list(data.val_names),
        digest=digest,
        skipped=broken,
        seed=runtime.seed,
        settings=plain(settings),
        precision=runtime.precision,
        device=str(runtime.device),
        versions=versions(),
        **facts,
    )
    return data


def versions() -> dict[str, str]:
    """The versions of what a run's numbers depend on."""
    found = {"python": platform.python_version()}
    for package in ("tag2mask", "torch", "torchvision", "timm", "numpy", "numba", "lightning-fabric"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def data_of(run: RunFolder, moved: Path | None = None, *, split: str | None = None) -> TagDataset:
    """The images and tags that a run was made from.

    Args:
        run: with its ``run.json``.
        moved: where the folder is now, if not where it was.
        split: of VOC or COCO, other images than the run's training images; a score then counts those of the run's
            images that are among them.

    Raises:
        ValueError: if it is not there, or the run does not say where it is.
    """
    source = dict(run.record().get("source", {}))
    if moved is not None:
        source = {**source, "path": str(moved)} if source else find_source(moved)
    elif "path" not in source or not Path(source["path"]).is_dir():
        # A run made by the library notes no source.
        why = f"was made from {source['path']}, which is not there" if "path" in source else "does not say from what"
        raise ValueError(f"{run.path}: the run {why}. Say where the images are with --data FOLDER.")
    if split is not None:
        check_options(source["path"], source.get("kind", "folder"), split=split)
        source["split"] = split
    return open_source(source)
