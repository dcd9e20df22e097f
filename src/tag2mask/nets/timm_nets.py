"""timm's networks as feature maps: dilated, or as they are where that can not be; transformers by their blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import timm
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from tag2mask.nets.pretrained import could_not_be_had, find_pretrained

Keep = Callable[[Sequence[int]], int]
"""How many of the first levels to keep, of those with the given strides."""

PATCH_LEVELS = 4
"""So many levels has a network whose blocks all have one stride: after each quarter of its blocks."""

_FREE_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""How transformers are told to take images of any size: their positional embeddings or windows are resampled."""

MISFITS = (TypeError, AssertionError, NotImplementedError, AttributeError, RuntimeError)
"""What timm raises where a network can not be built as wanted."""


class StrideError(ValueError):
    """A backbone can not have the output stride that is asked for.

    Args:
        message: for the user.
        found: the stride that it has.
    """

    def __init__(self, message: str, found: int) -> None:
        super().__init__(message)
        self.found = found

    @classmethod
    def of(cls, name: str, wanted: int, found: int) -> StrideError:
        """The error for a backbone that has another stride than the one wanted."""
        return cls(
            f"backbone {name!r}: it has no output stride {wanted}, its last map has {found}. Set output_stride to "
            f"{found}, or take a backbone that can be dilated: a ResNet or a ConvNeXt has 8, 16 or 32.",
            found,
        )


class PatchFeatures(nn.Module):
    """Feature maps of a network whose blocks all have one stride: a vision transformer.

    The maps are taken after each quarter of the blocks and go through the network's last norm, as in DINOv2's code. A
    network that pools its patches may have that norm behind the pooling (timm's ``fc_norm``): then it is done for each
    patch instead.

    Args:
        model: a timm network without its classifier.
        keep: how many of the levels to keep; None: all of them.

    Attributes:
        feature_info: channels and strides of the levels.
        pretrained_cfg: ``mean`` and ``std`` of the pixels that it wants.
    """

    def __init__(self, model: nn.Module, keep: Keep | None = None) -> None:
        super().__init__()
        blocks: Any = model.feature_info
        ends = [(level + 1) * len(blocks) // PATCH_LEVELS - 1 for level in range(PATCH_LEVELS)]
        chosen = ends[: keep([blocks[end]["reduction"] for end in ends]) if keep else None]
        late_norm = getattr(model, "fc_norm", None)
        prune: Any = getattr(model, "prune_intermediate_layers", None)
        if prune is not None:
            prune(chosen, prune_norm=False, prune_head=True)
        self.model = model
        # Pruned with the head, where it belongs to it.
        self.fc_norm = late_norm if isinstance(late_norm, nn.Module) else nn.Identity()
        self.indices = chosen
        self.feature_info = FeatureInfo([blocks[end] for end in chosen], tuple(range(len(chosen))))
        self.pretrained_cfg: Any = model.pretrained_cfg

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised, H and W multiples of the patch -> (B, D, H / patch, W / patch) for each level."""
        wanted = {"indices": self.indices, "norm": True, "output_fmt": "NCHW", "intermediates_only": True}
        levels: list[Tensor] = self.model.forward_intermediates(pixels, **wanted)  # type: ignore[operator]
        if isinstance(self.fc_norm, nn.Identity):
            return levels
        return [norm_of_cells(self.fc_norm, level) for level in levels]


def norm_of_cells(norm: nn.Module, maps: Tensor) -> Tensor:
    """The norm of vectors (..., D), for each cell of maps (B, D, h, w)."""
    normed: Tensor = norm(maps.permute(0, 2, 3, 1))
    return normed.permute(0, 3, 1, 2)


def create_features(name: str, output_stride: int, *, pretrained: bool, keep: Keep | None) -> nn.Module:
    """A timm network that gives feature maps, with timm's ``feature_info``.

    Args:
        name: that timm knows.
        output_stride: of the last level; blocks are dilated to have it.
        pretrained: with timm's published weights.
        keep: how many of the first levels to keep; None: all of them.

    Raises:
        ValueError: if it has no feature maps, or not at this stride, or its weights could not be had.
    """
    given = {"pretrained": True, "pretrained_cfg_overlay": find_pretrained(name)} if pretrained else {}
    wanted: dict[str, Any] = {"features_only": True, "output_stride": output_stride}
    whole = None
    try:
        if keep is not None:
            # Built once to be asked for its levels. The random numbers that this takes are part of every seeded run.
            whole = info_of(timm.create_model(name, **wanted))
            wanted["out_indices"] = _first(whole, keep)
        net = without_idle_blocks(create_timm(name, wanted, given))
    except MISFITS:
        whole, net = _undilated(name, given, keep)
    found = int((whole or info_of(net)).reduction()[-1])
    if output_stride in {found, int(info_of(net).reduction()[-1])}:
        return net
    raise StrideError.of(name, output_stride, found)


def without_idle_blocks(net: nn.Module) -> nn.Module:
    """A network of feature levels without the blocks behind the last one: EfficientNets would compute them in vain.

    Args:
        net: changed in place.
    """
    blocks = getattr(net, "blocks", None)
    last = re.fullmatch(r"blocks\.(\d+)", str(info_of(net).module_name()[-1]))
    if isinstance(blocks, nn.Sequential) and last:
        del blocks[int(last[1]) + 1 :]
    return net


def info_of(net: nn.Module) -> Any:
    """timm's table of a net's feature levels; timm has no types."""
    return net.feature_info


def outline(name: str, *, head: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """A timm network without memory, to be asked what it is like, and how to tell it to take images of any size.

    Args:
        name: that timm knows.
        head: with its classifier.
    """
    wanted: dict[str, Any] = {} if head else {"num_classes": 0}
    for free in _FREE_SIZE[:-1]:
        try:
            with torch.device("meta"):
                return timm.create_model(name, **wanted, **free), free
        except TypeError:
            continue  # It does not know the word.
    with torch.device("meta"):
        return timm.create_model(name, **wanted), {}


def is_of_patches(name: str) -> bool:
    """Whether a timm network's blocks all have one stride, as a vision transformer's.

    Args:
        name: that timm knows.
    """
    return _is_of_patches(outline(name)[0])


def _is_of_patches(net: nn.Module) -> bool:
    blocks: Any = getattr(net, "feature_info", [])
    alike = len({block["reduction"] for block in blocks}) == 1 and len(blocks) >= PATCH_LEVELS
    return alike and hasattr(net, "forward_intermediates")


def _undilated(name: str, given: dict[str, Any], keep: Keep | None) -> tuple[Any, nn.Module]:
    """A network with the strides that it has by itself, and timm's table of all of its levels."""
    try:
        alone, free = outline(name)
        if _is_of_patches(alone):
            net = PatchFeatures(create_timm(name, {"num_classes": 0, **free}, given), keep)
            return net.feature_info, net
        wanted: dict[str, Any] = {"features_only": True, **free}
        with torch.device("meta"):
            whole = info_of(timm.create_model(name, **wanted))
        if keep is not None:
            wanted["out_indices"] = _first(whole, keep)
        return whole, create_timm(name, wanted, given)
    except MISFITS as error:
        raise ValueError(
            f"backbone {name!r}: timm gives no feature maps of it ({error}). Take another one: a ResNet, a ConvNeXt, "
            "a ViT."
        ) from error


def _first(whole: Any, keep: Keep) -> tuple[int, ...]:
    """The indices of the levels to keep."""
    return tuple(whole.out_indices[: keep(whole.reduction())])


def create_timm(name: str, wanted: dict[str, Any], given: dict[str, Any]) -> nn.Module:
    """timm's function; what goes wrong with weights has a message of its own.

    Args:
        name: that timm knows.
        wanted: how the network is built.
        given: its weights; empty for random ones.

    Raises:
        ValueError: if the weights could not be had.
    """
    if not given:
        return timm.create_model(name, **wanted)
    with torch.device("meta"):
        timm.create_model(name, **wanted)  # What can not be built is not to be blamed on the weights.
    try:
        return timm.create_model(name, **wanted, **given)
    except Exception as error:
        raise ValueError(could_not_be_had(name, f"{type(error).__name__}: {' '.join(str(error).split())}")) from error
