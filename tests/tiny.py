"""Runs small enough for tests: ten drawn scenes of 48 pixels, nets that train for an epoch or two."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from tag2mask import disk
from tag2mask.datasets.folder import open_folder
from tag2mask.datasets.save_folder import save_folder
from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.ops.sizes import shrink
from tag2mask.pipelines.affinitynet import AffinityNetSettings, run_affinitynet
from tag2mask.pipelines.ial import run_ial
from tag2mask.pipelines.ial_settings import IALSettings
from tag2mask.records import TaggedImage
from tag2mask.runs import encodings
from tag2mask.runs.manifest import Origin
from tag2mask.runtime import Runtime
from tag2mask.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder

SIZE = 48
FIRST_STAGES = ("01_classify", "02_localize")
ROWS = ("cam", "cam_crf", "seeds", "walk", "walk_crf", "segmenter_train", "segmenter_val")


class Slashed:
    """Scenes whose names hold a slash, and whose classes are cut down to the first few.

    Args:
        count: training scenes.
        val_count: held-out scenes.
        seed: of the scenes; with 3, the second scene shows nothing.
        classes: how many of the classes to keep; objects of the others are background.
        all_tagged: leave out scenes without a tag.
    """

    def __init__(
        self, count: int = 8, val_count: int = 2, seed: int = 3, *, classes: int = 6, all_tagged: bool = False
    ) -> None:
        self._scenes = make_scenes(4 * count if all_tagged else count, SIZE, seed, val_count=val_count)
        self.class_names = self._scenes.class_names[:classes]
        kept = [name for name in self._scenes.names if not all_tagged or bool(self.tags(f"wild/{name}").any())]
        self.names = tuple(f"wild/{name}" for name in kept[:count])
        self.val_names = tuple(f"new/{name}" for name in self._scenes.val_names)

    def __getitem__(self, name: str) -> TaggedImage:
        return TaggedImage(name, self._scenes[name.split("/")[1]].pixels, self.tags(name))

    def shrunk(self, name: str, side: int) -> TaggedImage:
        return shrink(self[name], side)

    def tags(self, name: str) -> Tensor:
        return self._scenes.tags(name.split("/")[1])[: len(self.class_names)]

    def mask(self, name: str) -> Tensor:
        labels = self._scenes.mask(name.split("/")[1])
        return torch.where(labels > len(self.class_names), 0, labels)

    def has_masks(self) -> bool:
        return True

    def digest(self) -> str:
        return f"{self._scenes.digest()} {self.names} {self.class_names}"


def tiny_folder(path: Path, **changes: object) -> Path:
    """Scenes as a folder of images, tags and masks."""
    return save_folder(Slashed(**changes), path)  # type: ignore[arg-type]


def tiny_settings(**changes: object) -> AffinityNetSettings:
    """`AffinityNetSettings.quick`, shorter and with fixed exponents."""
    quick = AffinityNetSettings.quick(64, 8)
    tiny = replace(
        quick,
        classify=replace(quick.classify, epochs=4, batch_size=4, backbone="resnet10t"),
        localize=replace(quick.localize, scales=(1.0,)),
        seed=replace(quick.seed, alpha_object=4.0, alpha_background=16.0),
        affinity=replace(
            quick.affinity,
            epochs=1,
            without_last=0,
            frozen_levels=2,
            batch_size=4,
            backbone="resnet10t",
            cells=12,
            crop=8,
        ),
        walk=replace(quick.walk, alpha=6.0, beta=8.0, steps=16),
        crf=replace(quick.crf, bilateral_weight=2.0, gaussian_weight=1.0),
        segment=replace(quick.segment, epochs=1, batch_size=4, backbone="resnet10t", width=16),
    )
    return replace(tiny, **changes)


def tiny_runtime(seed: int = 0) -> Runtime:
    return Runtime("cpu", "32", seed)


def tiny_run(data: TagDataset, out: Path, settings: AffinityNetSettings | None = None, **facts: object) -> RunFolder:
    return run_affinitynet(data, out, settings or tiny_settings(), runtime=tiny_runtime(), **{"force": True, **facts})


def tiny_rounds(**changes: object) -> IALSettings:
    """Two rounds of `IALSettings.quick`, shorter."""
    quick = IALSettings.quick(64, 8)
    tiny = replace(
        quick,
        rounds=replace(quick.rounds, count=2),
        unary=replace(quick.unary, epochs=2, batch_size=4, rate=3e-3, backbone="resnet10t", width=16),
        superpixels=replace(quick.superpixels, count=40),
        mine=replace(quick.mine, epochs=1, batch_size=4, backbone="resnet10t", hidden=16, threshold=0.4),
        pairwise=replace(quick.pairwise, epochs=1, batch_size=4, backbone="resnet10t", width=8),
    )
    return replace(tiny, **changes)


def with_changes(settings: IALSettings, **parts: dict[str, object]) -> IALSettings:
    """Replace single fields: ``with_changes(settings, mine={"threshold": 0.9})``."""
    return replace(settings, **{name: replace(getattr(settings, name), **values) for name, values in parts.items()})


def tiny_ial(data: TagDataset, out: Path, settings: IALSettings | None = None, **more: object) -> RunFolder:
    # Networks that learn for a second may well have learned nothing.
    return run_ial(data, out, settings or tiny_rounds(), runtime=tiny_runtime(), **{"force": True, **more})


def origin_of(folder: Path) -> Origin:
    """What the command line notes about where the images are."""
    return Origin(source=Source("folder", str(folder)))


def files_of(folder: Path) -> dict[str, bytes]:
    """The content of every file below, less logs and times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in {".png", ".npz", ".safetensors"}
    }


def times_of(folder: Path) -> dict[str, int]:
    """When every file below was last written."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


class StoppedError(Exception):
    """What `stopped_while_writing` raises."""


@contextmanager
def stopped_while_writing(part: str, count: int, *, kill: bool = False) -> Iterator[None]:
    """Stop when half of the count-th file with `part` in its path is written.

    Args:
        part: for example ``05_walk/masks``.
        count: from 1.
        kill: send SIGKILL to this process instead of raising.
    """
    whole_file, written, lock = disk.whole_file, itertools.count(1), threading.Lock()

    @contextmanager
    def half_file(path: Path) -> Iterator[Path]:
        with whole_file(path) as temporary:
            yield temporary
            with lock:
                last = part in path.as_posix() and next(written) == count
            if last:
                temporary.write_bytes(temporary.read_bytes()[: temporary.stat().st_size // 2])
                if kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise StoppedError

    for module in (disk, encodings):
        module.whole_file = half_file
    try:
        yield
    finally:
        for module in (disk, encodings):
            module.whole_file = whole_file


def main(folder: str, out: str, part: str, count: str, start: str = "") -> None:
    """Run until SIGKILL comes in the middle of a file: ``python tiny.py FOLDER RUN PART COUNT [START]``.

    With START, a finished run, it is EM rounds that run.
    """
    from pathlib import Path

    with stopped_while_writing(part, int(count), kill=True):
        if start:
            tiny_ial(open_folder(folder), Path(out), start=start)
        else:
            tiny_run(open_folder(folder), Path(out), origin=origin_of(Path(folder)))


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:])
