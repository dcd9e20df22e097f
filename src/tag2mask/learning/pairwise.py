"""Build and apply the pairwise network of IAL (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tag2mask.checks import check_choice, check_number
from tag2mask.learning.schedule import NetSettings, check_long_side, crop_side, epochs_for, view_sides
from tag2mask.nets.backbones import to_channels_last
from tag2mask.nets.looking import whole_view
from tag2mask.nets.spn import PairwiseNetwork
from tag2mask.ops.propagation import Merge  # noqa: TC001  (settings are read by their types)
from tag2mask.ops.sizes import limit_long_side, size_of
from tag2mask.records import PHOTO_SIDE
from tag2mask.runs.places import PAIRWISE
from tag2mask.weights.starting import starting_backbone

if TYPE_CHECKING:
    from torch import Tensor

    from tag2mask.runs.run_folder import RunFolder
    from tag2mask.runtime import Runtime


VIEWS, FEWEST_EPOCHS, MOST_EPOCHS = 1_300, 2, 8
"""Quick: the untrained network already stops at edges; few views teach it the rest."""

SMALLEST_VIEW, LARGEST_VIEW = 0.8, 1.2
"""Quick: long sides of training views, as shares of the image's."""


@dataclass(frozen=True)
class PairwiseSettings(NetSettings):
    """How the pairwise network is built and trained; not published but for the channels, the merging and the passes.

    Args:
        backbone: of the guidance network; any timm name.
        stride: image pixels per cell of the maps that are spread (published: 2).
        width: channels of the guidance network's decoder.
        merge: how the four directions become one (published: ``max``, which is not linear).
        signed: weights of either sign, as published.
        edges: weights fall with the distance of colours and learned features; convex weights only.
        hidden: channels that are spread instead of the probabilities (published: 32); 0: the probabilities.
        published: the layout of the published network, see `tag2mask.nets.spn.PairwiseNetwork`.
        passes: how often (published: 2).
        smoothness: weight of the region smoothness L_s beside L_a.
        balance: of L_a: 0 counts every pixel alike, 1 gives all objects together as much weight as the background; see
            `tag2mask.ops.losses.object_weight`.
        long_side: smallest and largest long side of a training view in pixels.
        crop: side of a training view in pixels, a multiple of `stride`.
        max_side: images with a longer side are shrunk to it for estimates; 0 means never.
        enabled: without it, alpha_p is alpha_u (for comparison).
    """

    epochs: int = 8
    batch_size: int = 8
    rate: float = 0.005
    stride: int = 4
    width: int = 128
    merge: Merge = "gated"
    signed: bool = False
    edges: bool = True
    hidden: int = 0
    published: bool = False
    passes: int = 1
    smoothness: float = 0.1
    balance: float = 1.0
    long_side: tuple[int, int] = (320, 640)
    max_side: int = 1024
    enabled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("PairwiseSettings.merge", self.merge, ("mean", "gated", "max"))
        for name, low in (("stride", 1), ("width", 1), ("hidden", 0), ("passes", 1), ("max_side", 0)):
            check_number(f"PairwiseSettings.{name}", getattr(self, name), low)
        check_number("PairwiseSettings.smoothness", self.smoothness, 0)
        check_number("PairwiseSettings.balance", self.balance, 0)
        if self.signed and self.edges:
            raise ValueError("PairwiseSettings.edges: expected false with signed weights, got true.")
        check_long_side("PairwiseSettings", self.long_side)
        if self.crop % self.stride:
            raise ValueError(
                f"PairwiseSettings.crop: expected a multiple of the stride {self.stride}, got {self.crop!r}."
            )

    @property
    def is_used(self) -> bool:
        """Whether there is such a network at all."""
        return self.enabled

    def sides(self) -> tuple[float, ...]:
        """Long sides in pixels at which it looks at images; 0 means their own size."""
        return self.long_side[1], self.max_side

    @classmethod
    def paper(cls) -> PairwiseSettings:
        """The published network on a VGG-16: 32 hidden channels at stride 2, signed weights, maximum, two passes."""
        return cls(
            nesterov=False,
            fill_last=False,
            backbone="vgg16",
            output_stride=32,
            stride=2,
            merge="max",
            signed=True,
            edges=False,
            hidden=32,
            published=True,
            passes=2,
            balance=0.0,
            max_side=0,
        )

    @classmethod
    def quick(cls, image_side: int = 320, images: int = 400) -> PairwiseSettings:
        """A small net that starts from the classifier's weights, on a CPU.

        Args:
            image_side: typical long side of the images in pixels.
            images: how many there are; small sets get more epochs.
        """
        return cls(
            epochs=epochs_for(images, VIEWS, FEWEST_EPOCHS, MOST_EPOCHS),
            batch_size=4,
            rate=1e-3,
            optimizer="adamw",
            weight_decay=0.05,
            new_factor=1.0,
            backbone="resnet18",
            start_from="classifier",
            stride=2 if image_side < PHOTO_SIDE else 4,
            width=48,
            long_side=view_sides(image_side, SMALLEST_VIEW, LARGEST_VIEW),
            crop=crop_side(image_side),
            max_side=image_side,
        )


def build_pairwise(
    settings: PairwiseSettings, classes: int, start: RunFolder | None, runtime: Runtime
) -> PairwiseNetwork:
    """The pairwise network with the weights that its training starts from; random ones without a run.

    Args:
        settings: layout of the network, and what it starts from.
        classes: C.
        start: the run with the classifier.
        runtime: gives the seed.
    """
    with runtime.seeded(PAIRWISE, "weights"):
        net = PairwiseNetwork(
            starting_backbone(settings, start, PAIRWISE, weights=settings.weights),
            stride=settings.stride,
            width=settings.width,
            merge=settings.merge,
            signed=settings.signed,
            edges=settings.edges,
            hidden=settings.hidden,
            published=settings.published,
            passes=settings.passes,
            num_classes=classes,
        )
    to_channels_last(net)
    return net


def apply_pairwise(
    pixels: Tensor,
    alpha: Tensor,
    net: PairwiseNetwork | None,
    settings: PairwiseSettings,
    runtime: Runtime,
    *,
    times: int = 1,
) -> list[Tensor]:
    """G alpha of one image, then G G alpha and so on; call inside ``runtime.inference(net)``.

    Args:
        pixels: (3, H, W) uint8.
        alpha: (1 + C, h, w) probabilities of any size.
        net: gives G; None: G is the identity.
        settings: of the pairwise network.
        runtime: device, precision and seed.
        times: how often G is applied.

    Returns:
        One (1 + C, h', w') float32 for each time, at the network's cells; without a network all are alpha.
    """
    if net is None:
        return [alpha] * times
    size = limit_long_side(size_of(pixels), settings.max_side)
    guidance = net.guide(whole_view(pixels, size, net.backbone, runtime))
    maps, found = alpha[None].to(runtime.device), []
    for _ in range(times):
        maps = net.refine(guidance, maps)
        found.append(maps[0].float().cpu())
    return found
