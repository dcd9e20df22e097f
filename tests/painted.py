"""Images whose colours tell what their pixels are, and EM rounds written by hand, without any network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from tag2mask.disk import write_labels, write_unit
from tag2mask.ops.sizes import shrink
from tag2mask.records import Regions, SoftMask, TaggedImage
from tag2mask.runs.encodings import write_regions, write_soft_mask, write_weights
from tag2mask.runs.manifest import ImageNames, Manifest
from tag2mask.runs.places import ESTIMATE, MINE, PAIRWISE, REFINE, ROUND_STAGES, SHARPEN, SUPERPIXELS, UNARY
from tag2mask.runs.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from tag2mask.runs.round import Round

STRIPES = 6
"""Vertical stripes of an image; each is a superpixel."""

SHADES = torch.arange(STRIPES) * 40 + 20
"""Red of stripe 0, 1, ...; green is 255 everywhere, so that an image can be told from what lies outside."""


class Stripes:
    """Images of vertical stripes, all with tag 2 of three classes; label 3 lies on the odd stripes.

    Args:
        size: (height, width).
        names: of the images.
    """

    class_names = ("cat", "dog", "cow")
    val_names: tuple[str, ...] = ()

    def __init__(self, size: tuple[int, int] = (40, 60), names: tuple[str, ...] = ("a", "x/b")) -> None:
        self.size, self.names = size, names

    def ids(self) -> Tensor:
        """(H, W): the stripe of every pixel."""
        return (torch.arange(self.size[1]) * STRIPES // self.size[1]).expand(self.size).contiguous()

    def labels(self) -> Tensor:
        """(H, W): 3 on the odd stripes, else 0."""
        return 3 * (self.ids() % 2)

    def tags(self, name: str) -> Tensor:
        return torch.tensor([False, False, True])

    def __getitem__(self, name: str) -> TaggedImage:
        red = SHADES[self.ids()]
        pixels = torch.stack([red, torch.full_like(red, 255), torch.zeros_like(red)]).to(torch.uint8)
        return TaggedImage(name, pixels, self.tags(name))

    def shrunk(self, name: str, side: int) -> TaggedImage:
        return shrink(self[name], side)

    def mask(self, name: str) -> None:
        return None

    def has_masks(self) -> bool:
        return False

    def digest(self) -> str:
        return f"stripes {self.size} {self.names}"


@dataclass(frozen=True)
class Numbers:
    """Settings of a stage that was never computed."""

    value: int = 0
    sides: tuple[int, int] = (3, 4)


def stripes_seen(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """The stripe that each pixel of a view shows, and whether that can be told (inside, away from edges).

    Args:
        pixels: (3, H, W) float32, normalised.
        mean: of the backbone.
        std: of the backbone.
    """
    red = (pixels[0] * std[0] + mean[0]) * 255
    stripes = ((red - 20) / 40).round().long()
    clean = ((red - 20) / 40 - stripes).abs() < 0.05
    return stripes, clean & inside(pixels)


def inside(pixels: Tensor) -> Tensor:
    """Where a normalised view shows the image: outside all channels are 0."""
    return (pixels != 0).any(dim=0)


def run_by_hand(path: Path, data: Stripes) -> RunFolder:
    run = RunFolder(path)
    names = {"names": data.names, "val_names": data.val_names}
    return note_run(run, **names, class_names=tuple(data.class_names), digest=data.digest(), seed=0, precision="32")


def note_run(
    run: RunFolder, *, names: Sequence[str] | None = None, val_names: Sequence[str] | None = None, **facts: object
) -> RunFolder:
    """Replace or add facts in what a run says of itself."""
    known = run.manifest() if run.has_manifest() else Manifest((), "")
    manifest = replace(known, **facts)
    train = names if names is not None else run.names() if run.has_manifest() else ()
    val = val_names if val_names is not None else run.names("val") if run.has_manifest() else ()
    run.write_manifest(manifest, ImageNames(tuple(train), tuple(val)))
    return run


def superpixels_by_hand(run: RunFolder, data: Stripes) -> None:
    """Every stripe a superpixel."""
    for name in data.names:
        write_regions(run.path / SUPERPIXELS / "regions" / f"{name}.npz", Regions(data.ids(), STRIPES))


def soft_by_hand(data: Stripes, name: str, stride: int = 1) -> SoftMask:
    """Probability 0.8 of the label, at cells."""
    maps = torch.where(data.labels() > 0, 0.8, 0.2)[None, None]
    maps = F.avg_pool2d(maps, stride)[0]
    return SoftMask(name, torch.tensor([2]), torch.cat([1 - maps, maps]), data.size)


def fill_round(em_round: Round, data: Stripes, *, stride: int = 1) -> None:
    """The artefacts of every stage, weights among them."""
    for name in data.names:
        for folder in (ESTIMATE, REFINE):
            write_soft_mask(em_round.path / folder / "soft" / f"{name}.npz", soft_by_hand(data, name, stride))
            write_labels(em_round.path / folder / "masks" / f"{name}.png", data.labels(), 3)
        write_labels(em_round.path / MINE / "mined" / f"{name}.png", data.labels(), 3)
        write_labels(em_round.path / SHARPEN / "masks" / f"{name}.png", data.labels(), 3)
        write_unit(em_round.path / REFINE / "confidence" / f"{name}.png", torch.full(data.size, 0.8))
    for stage in (UNARY, PAIRWISE):
        write_weights(em_round.path / stage / "weights.safetensors", {"a": torch.ones(2)})


def rounds_of(run: RunFolder) -> int:
    """How many EM rounds of a run are finished, counted from the first."""
    last = run.last_round()
    return last.number if last else 0


def finish_round(em_round: Round, *, value: int = 0, upto: int = 6, without: tuple[str, ...] = ()) -> None:
    """Mark stages as finished: each is made from the one before, and round 1 from the seeds.

    Args:
        em_round: the round.
        value: of the settings of every stage.
        upto: how many of the stages.
        without: stages that did not run.
    """
    before = f"rounds/{em_round.number - 1}/{SHARPEN}" if em_round.number > 1 else em_round.of_start("03_seed")
    for name in ROUND_STAGES[:upto]:
        if name not in without:
            stage = em_round.run.open_stage(f"{em_round.folder}/{name}", Numbers(value), after=(before,))
            energy = {"unary": 3.0, "mined": 2.0, "refined": 1.0}
            stage.finish(name, items=2, energy=energy, sharpened=SHARPEN not in without)
        before = f"{em_round.folder}/{name}"
