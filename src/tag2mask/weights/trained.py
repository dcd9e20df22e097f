"""Trained weights into the network that they were trained in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tag2mask.checks import some

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_NAMED = 3
"""Tensors that a message names; the others are counted."""


class Network(Protocol):
    """What has weights: a torch module, or a segmenter of another library."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...


def load_trained(net: Network, weights: Mapping[str, Tensor], stage: Path) -> None:
    """Give a network the weights that a finished stage kept of it; all of them, or none.

    Args:
        net: filled in place.
        weights: name -> tensor.
        stage: the stage's folder, for the message.

    Raises:
        ValueError: if they are not of this network, as where ``run.json`` was changed by hand.
    """
    own = net.state_dict()
    wrong = [f"no {name}" for name in own if name not in weights]
    wrong += [f"{name}, which the network has not" for name in weights if name not in own]
    wrong += [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if wrong:
        raise ValueError(
            f"{stage}: expected weights of the network that run.json describes (its classes and settings), found "
            f"{some(wrong, _NAMED)}. One of the two is of another run or version, or was changed: put back the "
            "run.json that belongs here, or make the run anew in another folder."
        )
    net.load_state_dict(weights)
