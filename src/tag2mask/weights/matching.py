"""Weights of others for a backbone: which tensor of a file is which of a network's."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

from tag2mask.checks import some
from tag2mask.nets.paper_backbones import PAPER_BACKBONES
from tag2mask.nets.timm_nets import outline
from tag2mask.weights import efficientnet_names
from tag2mask.weights.authors import load_start_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from tag2mask.nets.backbones import Backbone

logger = logging.getLogger(__name__)

_NAMED = 4
"""Tensors that a message names; the others are counted."""

OWN = "backbone.net."
"""In front of the backbone's names in the weights that a run's stages keep."""

_WHOLE = "model."
"""In front of the names of a network that is used as a whole: a transformer, or what a classifier pools."""

# How often a batch norm has learned: old files do not have it. And timm's feature maps of a transformer are without its
# last norm, which does no harm where it has not learned either.
_DISPENSABLE = re.compile(r"num_batches_tracked$|^model\.norm\.(weight|bias)$|^(model\.)?fc_norm\.(weight|bias)$")


def fill_backbone(backbone: Backbone, state: Mapping[str, Tensor], source: str, *, tell: bool = True) -> None:
    """Give a backbone the weights of a file; all of them, or none.

    Known are the names of timm (torchvision's are the same for ResNets), those of older releases that timm translates,
    those of AffinityNet's authors for their networks, and those of the weights that a run of this package keeps.

    Args:
        backbone: filled in place; also one without memory (on the meta device), of which it is only tried.
        state: name -> tensor, of the network with its head or without.
        source: where they are from, for messages.
        tell: log which tensors are left over: those of the head, as everything else has to fit.

    Raises:
        ValueError: if tensors are missing, unexpected or of another shape; it names them.
    """
    own = {name.removeprefix(OWN): value for name, value in state.items() if name.startswith(OWN)}
    state = {name.removeprefix(_WHOLE): value for name, value in own.items()} or state
    fitting, wrong = _match(backbone, state)
    if wrong and backbone.name in PAPER_BACKBONES:
        try:
            load_start_weights(backbone.net, state)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        return
    if wrong and (translated := _translated(backbone.name, state)) is not None:
        told = wrong
        fitting, wrong = _match(backbone, translated)
        state, wrong = translated, wrong and told
    if wrong:
        raise ValueError(
            f"{source}: expected the weights of backbone {backbone.name!r}, found {'; '.join(wrong)}. Name a file of "
            "this very network, or take the file's network as the backbone."
        )
    backbone.net.load_state_dict(fitting, strict=False, assign=False)
    used = set(map(_plain, fitting))
    left_out = [name for name in state if _plain(name) not in used]
    if tell and left_out and not any(value.is_meta for value in backbone.state_dict().values()):
        logger.debug("%s: not used by the backbone: %s", source, some(left_out, _NAMED))


def in_own_names(state: Mapping[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """Weights of a network of ours under the names that it has today: version 0.1.0 kept backbones as feature maps.

    Args:
        state: name -> tensor, as a stage kept them.
        own: the network's names.
    """
    names = {_plain(name.removeprefix(OWN)): name for name in own}
    return {names.get(_plain(name.removeprefix(OWN)), name): value for name, value in state.items()}


def _match(backbone: Backbone, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file under the backbone's own names, and in words what does not fit."""
    own = backbone.net.state_dict()
    found = {_plain(name): value for name, value in state.items()}
    fitting = {name: found[_plain(name)] for name in own if _plain(name) in found}
    shapes = [
        f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in fitting.items()
        if value.shape != own[name].shape
    ]
    missing = [name for name in own if name not in fitting and not _DISPENSABLE.search(name)]
    unexpected = _unexpected(backbone.name, state, own)
    kinds = (
        (missing, f"{len(missing)} of {len(own)} tensors missing"),
        (unexpected, f"{len(unexpected)} unexpected"),
        (shapes, f"{len(shapes)} of another shape"),
    )
    return fitting, [f"{words} ({some(names, _NAMED)})" for names, words in kinds if names]


def _unexpected(name: str, state: Mapping[str, Tensor], own: Iterable[str]) -> list[str]:
    """What lies in a part that the backbone has, and yet is in no such network: blocks of a deeper one.

    Other parts may be there: the head, levels that are left out, what a training had beside the network.
    """
    known = {_plain(key) for key in own}
    parts = {key.partition(".")[0] for key in known}
    if name not in PAPER_BACKBONES:
        known |= {_plain(key) for key in outline(name, head=True)[0].state_dict()}
    return [key for key in state if _plain(key) not in known and _plain(key).partition(".")[0] in parts]


def _plain(name: str) -> str:
    """A name as it is in timm's whole network and in its feature maps: some parts have ``_`` where others have a dot.

    Example:
        >>> _plain("stages_0.blocks.1.norm.bias") == _plain("stages.0.blocks.1.norm.bias")
        True
        >>> _plain("model.pos_embed") == _plain("pos_embed")
        True
    """
    return name.removeprefix("model.").replace("_", ".")


def _translated(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Weights of another release in timm's names and shapes, if we or timm know how: timm does it to its downloads."""
    whole, _ = outline(name, head=True)
    if efficientnet_names.MARK in state:
        try:
            return efficientnet_names.in_timm_names(state, whole.state_dict())
        except ValueError as error:
            logger.debug("not the blocks of %s: %s", name, error)
            return None
    translate: Any = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    if translate is None:
        return None
    try:
        return dict(translate(dict(state), whole))
    except Exception as error:
        # These are no such weights: then the message is about the names that were found.
        logger.debug("timm can not translate the names for %s: %s", name, error)
        return None
