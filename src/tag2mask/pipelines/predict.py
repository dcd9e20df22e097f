"""A finished run as a tool: masks for new images, no tags needed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tag2mask.data.artefacts import whole_file, write_labels, write_unit
from tag2mask.data.images import read_image
from tag2mask.data.pictures import overlay
from tag2mask.data.store import RunFolder
from tag2mask.pipelines.affinitynet import settings_of
from tag2mask.progress import track
from tag2mask.stages.s6_segment import build_segmenter, predict_mask
from tag2mask.training import Runtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tag2mask.nets.segmenter import Segmenter
    from tag2mask.records import PseudoMask
    from tag2mask.stages.s6_segment import SegmentSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run whose segmenter is trained; made by `load`.

    Args:
        run: its folder.
        net: the segmenter.
        settings: how it was trained.
        runtime: where it runs.
    """

    run: RunFolder
    net: Segmenter
    settings: SegmentSettings
    runtime: Runtime

    @property
    def class_names(self) -> tuple[str, ...]:
        """C names; label 1 + i is the i-th."""
        return self.run.class_names()

    def predict(self, path: str | Path) -> PseudoMask:
        """The mask of one image file, at the image's size.

        Raises:
            ValueError: if the file cannot be read as an image.
        """
        path = Path(path)
        with self.runtime.inference(self.net):
            return predict_mask(path.stem, read_image(path), self.net, self.settings, self.runtime)


def load(path: str | Path, *, runtime: Runtime | None = None) -> TrainedRun:
    """Load a run's segmenter.

    Args:
        path: the run folder.
        runtime: where it shall run.

    Raises:
        ValueError: if the folder is no run, or its segmenter is not trained yet.
    """
    run = RunFolder.existing(path)
    if "06_segment" not in run.stage_summaries():
        raise ValueError(
            f"{run.path}: expected a finished run, its segmenter is not trained. Start it again to finish."
        )
    settings = settings_of(run).segment
    runtime = runtime or Runtime()
    net = build_segmenter(settings, len(run.class_names()), None, runtime)
    net.load_state_dict(run.weights("06_segment"))
    return TrainedRun(run, net, settings, runtime)


def predict_files(
    run: RunFolder, paths: Sequence[Path], out: Path, runtime: Runtime, *, strict: bool = False
) -> tuple[int, int]:
    """Write masks/, overlays/ and confidence/ for image files and for all images below folders.

    Args:
        run: finished.
        paths: files and folders.
        out: where the three folders go.
        runtime: where the net runs.
        strict: a broken image is an error instead of being reported and left out.

    Returns:
        How many were written, and how many could not be read.

    Raises:
        ValueError: if there is no image, or one is broken and strict.
    """
    trained = load(run.path, runtime=runtime)
    files = _image_files(paths)
    failed = 0
    with runtime.inference(trained.net):
        for name, path in track(list(files.items()), "predict"):
            try:
                pixels = read_image(path)
            except ValueError as error:
                if strict:
                    raise
                logger.warning("left out: %s", error)
                failed += 1
                continue
            mask = predict_mask(name, pixels, trained.net, trained.settings, runtime)
            write_labels(out / "masks" / f"{name}.png", mask.labels, len(trained.class_names))
            write_unit(out / "confidence" / f"{name}.png", mask.confidence)
            picture = overlay(pixels.permute(1, 2, 0).numpy(), mask.labels.numpy().astype(np.int64))
            with whole_file(out / "overlays" / f"{name}.jpg") as temporary:
                Image.fromarray(picture).save(temporary, format="JPEG", quality=90)
    return len(files) - failed, failed


def _image_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Output name -> file; files of one name in several folders get their suffix or folder in front."""
    suffixes = set(Image.registered_extensions())
    found: list[tuple[str, Path]] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in suffixes)
            found += [(p.relative_to(path).with_suffix("").as_posix(), p) for p in inside]
        elif path.is_file():
            found.append((path.stem, path))
        else:
            raise ValueError(f"{path}: expected an image or a folder of images, found nothing there.")
    if not found:
        raise ValueError(f"{', '.join(map(str, paths))}: expected images, found none.")
    named: dict[str, Path] = {}
    for name, path in found:
        free = name
        while free in named:
            free = (
                f"{path.parent.name}_{free}" if not free.startswith(path.parent.name) else f"{free}_{path.suffix[1:]}"
            )
        named[free] = path
    return named
