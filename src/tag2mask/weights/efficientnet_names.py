"""The names of efficientnet_pytorch and its kin, whose blocks are numbered through, in timm's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

MARK = "_conv_stem.weight"
"""A tensor that all of these networks have, and no other."""

_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_WIDENED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand",
}  # fmt: skip
"""Parts of a block that first widens its channels."""

_PLAIN = {**_WIDENED, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Parts of a block that does not."""

_OURS, _THEIRS = re.compile(r"(blocks\.\d+\.\d+)\."), re.compile(r"_blocks\.(\d+)\.(_\w+)\.(\w+)$")


def in_timm_names(state: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Weights of such a network under timm's names, one to one.

    Args:
        state: name -> tensor, of the whole network.
        own: names of timm's whole network, in its order.

    Raises:
        ValueError: if there are more or fewer blocks, or names that no such network has.
    """
    blocks = list(dict.fromkeys(found[1] for name in own if (found := _OURS.match(name))))
    numbers = {int(found[1]) for name in state if (found := _THEIRS.match(name))}
    if numbers != set(range(len(blocks))):
        raise ValueError(f"expected blocks 0 to {len(blocks) - 1}, found {len(numbers)} blocks.")
    widened = {int(found[1]) for name in state if (found := _THEIRS.match(name)) and found[2] == "_expand_conv"}
    translated = {}
    for name, value in state.items():
        if found := _THEIRS.match(name):
            number, part, rest = int(found[1]), found[2], found[3]
            parts = _WIDENED if number in widened else _PLAIN
            place = f"{blocks[number]}."
        else:
            part, _, rest = name.rpartition(".")
            parts, place = _OUTSIDE, ""
        if part not in parts:
            raise ValueError(f"expected parts {', '.join(parts)}, found {name!r}.")
        translated[f"{place}{parts[part]}.{rest}"] = value
    return translated
