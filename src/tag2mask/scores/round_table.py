"""The scores of IAL's rounds: one row per round, for people and for files."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tag2mask.scores.score_table import percent, rounded, text_columns

ENERGY_DIGITS = 9
"""Of energies in files: they are some millionths."""


@dataclass(frozen=True, slots=True)
class RoundScore:
    """The score of one EM round of IAL; shares in [0, 1], NaN where there is no ground truth or nothing to count.

    Args:
        number: 1, 2, ...
        unary_train: mean IoU of the unary network's masks (alpha_u) on training images, among their tags.
        refined_train: mean IoU of the refined masks (alpha_p) on training images.
        taught_train: of the masks that teach the next round: alpha_p, after the dense CRF if it is used.
        unary_val: of the unary network alone on held-out images, without tags.
        refined_val: of unary and pairwise network on held-out images, without tags.
        coverage: share of the pixels that lie in mined, confident regions.
        precision: mean over labels of the precision of these pixels.
        unary_precision: the same of the unary network's masks, over all pixels.
        agreement: share of the mined pixels whose label both networks give.
        energy: J of alpha_u, per pixel and class; NaN, as the next two, where the propagation has no G.
        energy_mined: Y^T L alpha_u with the mined labels Y.
        energy_refined: J of alpha_p.
        seconds: that the round took.
    """

    number: int
    unary_train: float
    refined_train: float
    taught_train: float
    unary_val: float
    refined_val: float
    coverage: float
    precision: float
    unary_precision: float
    agreement: float
    energy: float
    energy_mined: float
    energy_refined: float
    seconds: float


PERCENT, MILLIONTHS = 1e2, 1e6

COLUMNS = {
    "unary_train": ("alpha_u train", PERCENT),
    "refined_train": ("alpha_p train", PERCENT),
    "taught_train": ("masks", PERCENT),
    "unary_val": ("alpha_u val", PERCENT),
    "refined_val": ("alpha_p val", PERCENT),
    "coverage": ("mined", PERCENT),
    "precision": ("precision", PERCENT),
    "unary_precision": ("of alpha_u", PERCENT),
    "agreement": ("agreement", PERCENT),
    "energy": ("J(alpha_u)", MILLIONTHS),
    "energy_mined": ("mined J", MILLIONTHS),
    "energy_refined": ("J(alpha_p)", MILLIONTHS),
}
"""What the columns of a table of rounds show: heading, and what the number is multiplied with."""


@dataclass(frozen=True, slots=True)
class RoundTable:
    """The scores of IAL's rounds.

    Args:
        rows: in their order.
    """

    rows: tuple[RoundScore, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``{"rounds": [{...}]}``, None where a number is missing."""
        return {"rounds": [{"round": row.number, **_numbers(row)} for row in self.rows]}

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Column -> (round, value) pairs, for drawing."""
        return {
            heading: [(row.number, factor * getattr(row, name)) for row in self.rows]
            for name, (heading, factor) in COLUMNS.items()
        }

    def cells(self) -> list[dict[str, str]]:
        """For every round heading -> text: shares in percent, energies per million pixels and classes."""
        return [
            {
                heading: percent(getattr(row, name)) if factor == PERCENT else _whole(factor * getattr(row, name))
                for name, (heading, factor) in COLUMNS.items()
            }
            for row in self.rows
        ]

    def table(self) -> str:
        """Plain text: the rounds' numbers, `cells` and times."""
        lines = [["round", *(heading for heading, _ in COLUMNS.values()), "seconds"]]
        for row, cells in zip(self.rows, self.cells(), strict=True):
            lines.append([str(row.number), *cells.values(), f"{row.seconds:.0f}"])
        return text_columns(lines)


def _whole(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _numbers(row: RoundScore) -> dict[str, float | None]:
    """For JSON: all numbers but the round's."""
    found: dict[str, float | None] = {}
    for name, value in asdict(row).items():
        if name.startswith("energy"):
            found[name] = None if math.isnan(value) else round(value, ENERGY_DIGITS)
        elif name != "number":
            found[name] = rounded(value)
    return found
