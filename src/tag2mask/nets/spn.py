"""The pairwise network of IAL: a guidance network that looks at the image, and spatial propagation.

Sources: Liu et al., "Learning Affinity via Spatial Propagation Networks", NIPS 2017, who spread 32 channels, each with
weights of its own from a VGG-16 with summed skips; Wang et al., IJCV 2020, who publish no layout. By default all
probabilities share the weights here, as a matrix G requires.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tag2mask.checks import check_choice, check_number, check_shape
from tag2mask.nets.roles import roles_beside
from tag2mask.ops.propagation import Merge, convex_weights, neighbour_distances, propagate, signed_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tag2mask.nets.backbones import Backbone
    from tag2mask.nets.roles import Role

START = 0.9
"""What a pixel of an untrained network takes from its three neighbours together: values reach some ten cells far."""

START_AT_EDGES = 0.99
"""The same with `edges`, between pixels of one colour: values reach a hundred cells, or up to the next edge."""

COLOUR = 7.0
"""With `edges`, what an untrained network takes from a weight's logit for a difference of 1 between two colours."""

EMBEDDING = 16
"""With `edges`, channels of the learned features whose differences close the weights."""

_SUM_FLOOR = 1e-6  # For maps of zeros; what was a probability sums to 1 or more after a pass.


@dataclass(frozen=True, slots=True, eq=False)
class Guidance:
    """How one batch of images wants maps to be spread; for `tag2mask.ops.propagation`.

    Args:
        weights: (B D, 4, 3, h, w), at least float32: what each cell takes from its neighbours, for each direction.
        gates: (B, 4, h, w), sum 1 over the directions, for merge ``gated``; else None.
        channels: D; 1 where all channels share the weights.
    """

    weights: Tensor
    gates: Tensor | None
    channels: int = 1

    def __post_init__(self) -> None:
        known = check_shape("guidance weights", self.weights, "B 4 3 h w")
        if self.gates is not None:
            check_shape("guidance gates", self.gates, "B 4 h w", **known)

    @property
    def images(self) -> int:
        """B."""
        return self.weights.shape[0] // self.channels

    def by_image(self) -> Tensor:
        """(B, 12 D, h, w): all weights of an image side by side."""
        return self.weights.reshape(self.images, -1, *self.weights.shape[-2:])


class PairwiseNetwork(nn.Module):
    """alpha_p = G alpha_u, with G from the image: spreads class probabilities along learned affinities.

    Only with hidden = 0, convex weights and merge ``mean`` or ``gated`` is alpha_p a probability by construction, and
    is there a G (`tag2mask.ops.propagation.affinity_matrix`). With signed weights or merge ``max``, each pass ends by
    setting negative values to 0 and dividing by the sum; with hidden channels, the network ends with a softmax.

    Args:
        backbone: sees the image; its levels at `stride` or coarser are used.
        stride: image pixels per cell of the maps that are spread (published: 2; at 4 there are a quarter of the cells).
        width: channels of the top-down path.
        merge: how the four directions become one (published: ``max``).
        signed: weights of either sign, as published, instead of convex ones.
        edges: the weights between two neighbours fall with the distance of their colours and learned features, so
            that even the untrained network stops at edges (not published; convex weights only).
        hidden: spread so many channels, made of the probabilities by a 1x1 convolution (published: 32), instead of
            the probabilities themselves (0).
        published: the layout of the published network: every hidden channel has weights of its own, divided by the sum
            of their absolute values always; probabilities at half the stride are lifted by a 4x4 convolution of stride
            2, and two 3x3 convolutions come behind. Needs hidden channels and signed weights.
        passes: how often the propagation is done, with the same guidance (published: 2); the whole is G^passes.
        num_classes: C; needed if hidden > 0.

    Raises:
        ValueError: for a stride that is coarser than the backbone's, hidden channels without a number of classes,
            and numbers that are too small.

    Example:
        >>> from tag2mask.nets.backbones import Backbone
        >>> net = PairwiseNetwork(Backbone("resnet10t", output_stride=16), stride=4, width=16).eval()
        >>> net(torch.zeros(1, 3, 64, 96), torch.full((1, 2, 64, 96), 0.5)).shape
        torch.Size([1, 2, 16, 24])
    """

    forward_methods = ("guide", "refine")
    """By which it is asked in a training, beside ``forward``."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        stride: int = 4,
        width: int = 64,
        merge: Merge = "gated",
        signed: bool = False,
        edges: bool = False,
        hidden: int = 0,
        published: bool = False,
        passes: int = 1,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        _check_layout(merge, hidden, signed=signed, edges=edges, published=published)
        check_number("stride", stride, 1, backbone.output_stride + 1)
        for name, number, lowest in (("width", width, 1), ("hidden", hidden, 0), ("passes", passes, 1)):
            check_number(name, number, lowest)
        if num_classes is not None:
            check_number("num_classes", num_classes, 1)
        elif hidden:
            raise ValueError(f"num_classes: expected a number, as there are {hidden} hidden channels, got None.")
        self.backbone = backbone
        self.stride, self.merge, self.signed, self.passes, self.num_classes = stride, merge, signed, passes, num_classes
        self.published = published
        taps = [tap for tap, cell in zip(backbone.channels, backbone.strides, strict=True) if cell >= stride]
        self.sides = nn.ModuleList(nn.Conv2d(tap, width, 1) for tap in taps)
        self.joins = nn.ModuleList(_join(width) for _ in taps)
        self.weigh = nn.Conv2d(width, 12 * (hidden if published else 1), 1)
        start = START_AT_EDGES if edges else START
        nn.init.constant_(self.weigh.bias, start / 3 if signed else math.log(start / 3 / (1 - start)))  # type: ignore[arg-type]
        self.embed = nn.Conv2d(width, EMBEDDING, 1) if edges else None
        self.colour = nn.Parameter(torch.tensor(math.log(COLOUR))) if edges else None
        if self.embed is not None:
            # What is random shall not say much beside the colours.
            nn.init.normal_(self.weigh.weight, std=0.01)
            nn.init.normal_(self.embed.weight, std=0.02)
        self.gate = nn.Conv2d(width, 4, 1) if merge == "gated" else None
        self.lift, self.lower = _hidden_layers(num_classes, hidden, published=published)

    @property
    def is_linear(self) -> bool:
        """Whether alpha_p is linear in alpha_u: only then there is a G, and an energy."""
        return self.lift is None and not self.signed and self.merge != "max"

    def parameter_roles(self) -> Iterator[tuple[nn.Parameter, Role]]:
        """What is beside the backbone is new."""
        return roles_beside(self, self.backbone)

    def forward(self, pixels: Tensor, probabilities: Tensor) -> Tensor:
        """`guide`, then `refine`: (B, 3, H, W) and (B, 1 + C, H', W') -> (B, 1 + C, h, w)."""
        return self.refine(self.guide(pixels), probabilities)

    def guide(self, pixels: Tensor) -> Guidance:
        """What the image says about who belongs together.

        Args:
            pixels: (B, 3, H, W) normalised with the backbone's mean and deviation.

        Returns:
            Of h = ceil(H / stride) rows and w = ceil(W / stride) columns.
        """
        levels = self.backbone(pixels)[-len(self.sides) :]
        sides = [side(level) for side, level in zip(self.sides, levels, strict=True)]
        features = self.joins[-1](sides[-1])
        for side, join in list(zip(sides, self.joins, strict=True))[-2::-1]:
            features = join(side + resize_maps(features, side.shape[-2:], antialias=False))
        cells = [math.ceil(length / self.stride) for length in pixels.shape[-2:]]
        features = resize_maps(features, cells, antialias=False)
        weights = self._weights(features, pixels)
        if self.gate is None:
            return Guidance(weights, None, self._own_weights)
        return Guidance(weights, torch.softmax(self.gate(features), dim=1, dtype=weights.dtype))

    @property
    def _own_weights(self) -> int:
        """How many channels have weights of their own."""
        return self.weigh.out_channels // 12

    def _weights(self, features: Tensor, pixels: Tensor) -> Tensor:
        """(B D, 4, 3, h, w) of features (B, width, h, w) and the pixels."""
        raw: Tensor = self.weigh(features)
        if self.published:
            return signed_weights(raw.reshape(-1, 12, *raw.shape[-2:]), always=True)
        if self.embed is None or self.colour is None:
            return (signed_weights if self.signed else convex_weights)(raw)
        colours = F.interpolate(pixels, features.shape[-2:], mode="area")
        wide = torch.promote_types(raw.dtype, torch.float32)
        apart = self.colour.exp() * neighbour_distances(colours) + neighbour_distances(self.embed(features).to(wide))
        return convex_weights(raw - apart.flatten(1, 2))

    def refine(self, guidance: Guidance, probabilities: Tensor) -> Tensor:
        """Spread probabilities as the guidance says.

        Args:
            guidance: of the same images, (h, w) cells.
            probabilities: (B, 1 + C, H', W'), channel 0 the background, sum 1; of any size: they are resized to
                (h, w) (bilinear, with averaging where they shrink).

        Returns:
            (B, 1 + C, h, w), >= 0 and sum 1 up to rounding, at least float32.

        Raises:
            ValueError: for another batch size, or other channels than `num_classes` allows.
        """
        batch, cells = guidance.images, guidance.weights.shape[-2:]
        if self.num_classes is None:
            check_shape("probabilities", probabilities, "B channels H W", B=batch)
        else:
            check_shape("probabilities", probabilities, "B channels H W", B=batch, channels=1 + self.num_classes)
        before = [2 * side for side in cells] if self.published else cells
        maps = resize_maps(probabilities.to(torch.promote_types(probabilities.dtype, torch.float32)), before)
        if self.lift is not None:
            maps = self.lift(maps)
        for _ in range(self.passes):
            # Channels with weights of their own are maps of their own.
            alone = maps.reshape(batch * guidance.channels, -1, *cells)
            maps = propagate(alone, guidance.weights, guidance.gates, merge=self.merge).reshape(batch, -1, *cells)
            if self.lower is None and (self.signed or self.merge == "max"):
                maps = maps.clamp(min=0)
                maps = maps / maps.sum(dim=1, keepdim=True).clamp(min=_SUM_FLOOR)
        return maps if self.lower is None else torch.softmax(self.lower(maps), dim=1, dtype=maps.dtype)


def _check_layout(merge: Merge, hidden: int, *, signed: bool, edges: bool, published: bool) -> None:
    """Of what can not be had together."""
    check_choice("merge", merge, get_args(Merge))
    if published and not (hidden and signed and merge != "gated"):
        raise ValueError(
            f"published: expected hidden channels, signed weights and merge 'max' or 'mean', got hidden {hidden}, "
            f"signed {signed} and merge {merge!r}. Set them, or published to false."
        )
    if signed and edges:
        raise ValueError("edges: expected convex weights, got signed ones. Set either signed or edges to false.")


def _hidden_layers(
    num_classes: int | None, hidden: int, *, published: bool
) -> tuple[nn.Module | None, nn.Module | None]:
    """What makes the hidden channels of the probabilities, and probabilities of them again."""
    if num_classes is None or not hidden:
        return None, None
    channels = 1 + num_classes
    if not published:
        return nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)
    behind = (nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU(), nn.Conv2d(hidden, channels, 3, padding=1))
    return nn.Conv2d(channels, hidden, 4, stride=2, padding=1), nn.Sequential(*behind)


def resize_maps(maps: Tensor, size: Sequence[int], *, antialias: bool = True) -> Tensor:
    """(B, D, H, W) -> (B, D, *size), bilinear.

    Args:
        maps: to be resized.
        size: (height, width).
        antialias: average where the maps shrink, as `PairwiseNetwork.refine` does; of no use where they grow.
    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, list(size), mode="bilinear", align_corners=False, antialias=antialias)


def _join(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
