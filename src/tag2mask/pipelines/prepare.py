"""Before a pipeline begins: a look at everything that could stop it later, working copies, and ``run.json``."""

from __future__ import annotations

import logging
import math
import platform
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tag2mask.checks import few
from tag2mask.datasets.class_problems import problems_of_tags
from tag2mask.datasets.dataset import behind, unreadable, without
from tag2mask.datasets.first_look import require_learnable
from tag2mask.datasets.mask_checks import without_bad_masks
from tag2mask.datasets.source import check_options, find_source, open_source
from tag2mask.datasets.summary import files_of
from tag2mask.datasets.usable_masks import UsableMasks
from tag2mask.datasets.working_copies import WorkingCopies
from tag2mask.progress import progress_bar
from tag2mask.runs.manifest import ImageNames, Manifest, Origin
from tag2mask.runs.settings import plain
from tag2mask.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import DataclassInstance

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Precision
    from tag2mask.sources import Source

logger = logging.getLogger(__name__)


class PipelineSettings(Protocol):
    """Settings of several stages."""

    def sides(self) -> tuple[float, ...]: ...


def working_copies(data: TagDataset, *settings: PipelineSettings) -> TagDataset:
    """Images no larger than any stage needs, decoded once as far as they fit into memory.

    Args:
        data: images of any size.
        settings: of pipelines.
    """
    return WorkingCopies(data, working_side(*settings))


def working_side(*settings: PipelineSettings) -> int:
    """The longest side in pixels at which any stage looks at an image; 0 if one of them has no limit.

    Args:
        settings: of pipelines.
    """
    sides = [side for whole in settings for side in whole.sides()]
    return math.ceil(max(sides)) if min(sides, default=0) > 0 else 0


def prepare(
    data: TagDataset,
    run: RunFolder,
    settings: DataclassInstance,
    runtime: Runtime,
    *,
    strict: bool,
    origin: Origin,
    force: bool = False,
) -> TagDataset:
    """Look at everything that could stop a run hours later, and write ``run.json``.

    Args:
        data: images and tags.
        run: its folder.
        settings: of AffinityNet.
        runtime: device, precision and seed.
        strict: an image that cannot be read is an error; otherwise it is reported and left out.
        origin: how the run was asked for; without a source, that of the data is noted, if it knows one.
        force: begin also with tags that no classifier can learn.

    Returns:
        The data less the images and the true masks that cannot be read.

    Raises:
        ValueError: for unreadable images and masks if strict, a set without images or tags, a folder that holds a run
            of other classes or from elsewhere; and unless forced for a class on every image, names that differ by case,
            and masks that contradict the tags.
    """
    if origin.source is None and (files := files_of(data)) is not None:
        origin = replace(origin, source=files.source)
    _check_apart(run, origin.source, data)
    require_learnable(problems_of_tags(data), _place(origin), force=force)
    digest = data.digest()
    known = run.manifest() if run.has_manifest() else None
    if known is not None:
        check_same(run, known, data, origin.source)
    broken = dict(known.skipped) if known is not None and known.digest == digest else _broken(data)
    data = _usable(data, broken, strict=strict)
    if behind(data, UsableMasks) is None:  # Otherwise somebody has read all true masks already.
        masks = without_bad_masks(data, strict=strict)
        require_learnable(masks.problems, _place(origin), force=force)
        data = masks.data
    manifest = Manifest(
        class_names=tuple(data.class_names),
        digest=digest,
        seed=runtime.seed,
        precision=runtime.precision,
        device=str(runtime.device),
        versions=versions(),
        skipped=broken,
        origin=_noted(origin, known),
        settings=plain(settings),
        ial=known.ial if known is not None else {},
        maps=known.maps if known is not None else None,
        segments=known.segments if known is not None else None,
    )
    run.write_manifest(manifest, ImageNames(tuple(data.names), tuple(data.val_names)))
    return data


def _noted(origin: Origin, known: Manifest | None) -> Origin:
    """What ``run.json`` shall say: the library asks for nothing that a command has noted, but may know the place."""
    if known is None or replace(origin, source=None) != Origin():
        return origin
    return replace(known.origin, source=origin.source or known.origin.source)


def _check_apart(run: RunFolder, source: Source | None, data: TagDataset) -> None:
    """Require that no image lies in a run's folder: whatever lies there is never taken for an image again."""
    files = files_of(data)
    if source is None or files is None:
        return
    here, root = run.path.resolve(), Path(source.path).resolve()
    # The demo's folder of images lies in that of its run.
    if here.is_relative_to(root) and any(
        folder.resolve().is_relative_to(here) for folder in {path.parent for path in files.paths.values()}
    ):
        raise ValueError(
            f"{run.path}: expected a folder of its own for the run, got one with images. Take another one: --out NEW."
        )


def _place(origin: Origin) -> str:
    return "the data set" if origin.source is None else origin.source.path


def _usable(data: TagDataset, broken: Mapping[str, str], *, strict: bool) -> TagDataset:
    """The data less broken images, of which each is told."""
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
    return data


def check_same(run: RunFolder, known: Manifest, data: TagDataset, source: Source | None) -> None:
    """Require that a folder's run has the same classes, and that its images are from the same place.

    Args:
        run: the folder.
        known: what it holds.
        data: what shall be run in it.
        source: where that is from; None: unknown.

    Raises:
        ValueError: naming what was expected and what was found.
    """
    if (now := tuple(data.class_names)) != known.class_names:
        gone, new = (", ".join(sorted(one - other)) for one, other in _both_ways(set(known.class_names), set(now)))
        what = "; ".join(text for text in (f"gone: {gone}" * bool(gone), f"new: {new}" * bool(new)) if text)
        raise ValueError(
            f"{run.path}: expected the classes of the run in this folder ({len(known.class_names)}: "
            f"{few(known.class_names)}), got {len(now)}: {few(now)} ({what or 'in another order'}). Labels would "
            "mean other things. Correct the tags, or take another folder: --out NEW."
        )
    before = known.origin.source
    # A folder that was moved holds the same images.
    if source is not None and before is not None and source.path != before.path and data.digest() != known.digest:
        raise ValueError(
            f"{run.path}: expected images from {before.path}, of which the run in this folder is, got other ones from "
            f"{source.path}. Take another folder: --out NEW."
        )


def _both_ways(one: set[str], other: set[str]) -> tuple[tuple[set[str], set[str]], ...]:
    return (one, other), (other, one)


def _broken(data: TagDataset) -> dict[str, str]:
    """The images that cannot be decoded, and why."""
    names = (*data.names, *data.val_names)
    with progress_bar("reading every image once", len(names)) as advance:
        return unreadable(data, names, lambda _done, _total: advance(1, ""))


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
        ValueError: if it is not there or has other classes, or the run does not say where it is.
    """
    source = run.manifest().origin.source
    if moved is not None:
        source = replace(source, path=str(moved)) if source else find_source(moved)
    elif source is None or not Path(source.path).is_dir():
        # A run of the library notes none where its data set knows none.
        why = f"was made from {source.path}, which is not there" if source else "does not note where its images are"
        raise ValueError(f"{run.path}: the run {why}. Say where the images are with --data FOLDER.")
    if split is not None:
        check_options(source.path, source.kind, split=split)
        source = replace(source, split=split)
    data = open_source(source)
    check_same(run, run.manifest(), data, None)
    if split is None and data.digest() != run.manifest().digest:
        logger.warning(
            "%s: the images or tags are not those that the run in %s was made from; numbers may mean little. `tag2mask "
            "run` makes anew what depends on the change.",
            source.path,
            run.path,
        )
    return data


def runtime_of(
    run: RunFolder, device: str = "auto", *, precision: Precision | None = None, seed: int | None = None
) -> Runtime:
    """A runtime with the seed and the precision that a run was made with.

    Args:
        run: with its ``run.json``.
        device: where it shall run; the run's own does not count.
        precision: another one than the run's.
        seed: another one than the run's.
    """
    manifest = run.manifest()
    return Runtime(device, precision or manifest.precision, manifest.seed if seed is None else seed)
