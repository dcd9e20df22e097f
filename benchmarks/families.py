"""Does any backbone work? All networks of the package on timm's families, with features of any size.

    python benchmarks/families.py [--networks NAME ...] [--size 64]

Each backbone has random weights and gives its maps times 0.01, 1 and 100, in float32 and under bfloat16 autocast. For
each of these six the classifier, AffinityNet, the segmenter, the region network and the pairwise network take one step
backwards on two images of coloured patches. A net is fine if its loss and all gradients are finite; AffinityNet besides
has to tell pairs apart: the mean of W over the pairs inside the map within 0.01 and 0.99, its deviation above 0.001.
"std of maps" is the deviation of the last level at scale 1 (training mode).
"Largest first losses" are the worst of the six, in the order of the nets: guessing costs log 2 = 0.69 for tags and
log 4 = 1.39 for pixels and regions; classifier and regions are linear in the maps, so theirs grow with the scale.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from tag2mask.nets.affinity_net import AffinityNet
from tag2mask.nets.backbones import Backbone, without_last
from tag2mask.nets.classifier import CamClassifier
from tag2mask.nets.region_net import RegionNet
from tag2mask.nets.segmenter import DeepLab
from tag2mask.nets.spn import PairwiseNetwork
from tag2mask.nets.timm_nets import StrideError
from tag2mask.ops.affinity import half_disc_offsets, pair_affinity, pair_targets
from tag2mask.ops.losses import label_loss, pair_loss, tag_loss

FAMILIES = {
    "ResNet": ("resnet18", "resnet10t", "resnetv2_50", "resnext26ts", "seresnext26t_32x4d", "ecaresnet26t"),
    "Res2Net, ResNeSt, SKNet": ("res2net50_26w_4s", "resnest14d", "skresnet18"),
    "RegNet": ("regnetx_002", "regnety_002", "regnetz_005", "gernet_s"),
    "EfficientNet": ("efficientnet_b0", "tf_efficientnet_lite0", "efficientnetv2_rw_t", "tinynet_e"),
    "MobileNet": (
        "mobilenetv2_050", "mobilenetv3_small_050", "mobilenetv4_conv_small_035", "mnasnet_small", "lcnet_035",
        "fbnetc_100", "hardcorenas_a",
    ),
    "GhostNet": ("ghostnet_050", "ghostnetv2_100"),
    "DenseNet": ("densenet121", "rdnet_tiny"),
    "VGG": ("vgg11", "vgg11_bn"),
    "RepVGG, MobileOne": ("repvgg_a0", "mobileone_s0", "repvit_m0_9"),
    "DLA, HRNet": ("dla46_c", "hrnet_w18_small"),
    "VoVNet, SelecSLS, HGNet": ("ese_vovnet19b_dw", "selecsls42", "hgnetv2_b0"),
    "DarkNet, CSPNet": ("cspdarknet53", "cspresnet50"),
    "ConvNeXt": ("convnext_atto", "convnextv2_atto", "inception_next_atto"),
    "NFNet": ("nfnet_l0", "dm_nfnet_f0"),
    "ReXNet, StarNet": ("rexnet_100", "starnet_s1"),
    "MobileViT, EdgeNeXt": ("mobilevit_xxs", "mobilevitv2_050", "edgenext_xx_small"),
    "EfficientViT, EfficientFormer": ("efficientvit_b0", "efficientvit_m0", "efficientformerv2_s0"),
    "MetaFormer": ("poolformer_s12", "convformer_s18", "caformer_s18"),
    "FastViT": ("fastvit_t8",),
    "Swin and other pyramids": (
        "swin_tiny_patch4_window7_224", "pvt_v2_b0", "twins_svt_small", "davit_tiny", "focalnet_tiny_srf",
    ),
    "ViT": (
        "vit_tiny_patch16_224", "deit3_small_patch16_224", "eva02_tiny_patch14_224", "vit_small_patch14_dinov2",
        "vit_base_patch16_gap_224", "vit_relpos_small_patch16_224",
    ),
    "Inception, Xception": ("xception41", "inception_v4"),
    "MLP": ("mixer_s32_224", "resmlp_12_224"),
    "CoAtNet, MaxViT, BEiT, CaiT": (
        "coatnet_nano_rw_224", "maxvit_tiny_tf_224", "beit_base_patch16_224", "cait_xxs24_224",
    ),
}  # fmt: skip
"""Small networks of timm's families."""

SCALES = (0.01, 1.0, 100.0)
CASES = tuple((scale, precision) for scale in SCALES for precision in (torch.float32, torch.bfloat16))
CLASSES = 3
LEAST_MEAN, LEAST_DEVIATION = 0.01, 1e-3
"""Of W: nearer to 0 or 1 than this on average, or more alike, and nothing is told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Two images that are made up, and what is known of them.

    Args:
        pixels: (2, 3, H, W) of one colour per quarter, with noise.
        tags: (2, C) bool.
        labels: (2, H, W) int64 in 0..C: a quarter each.
    """

    pixels: Tensor
    tags: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What one network of ours did with one backbone, at its worst.

    Args:
        wrong: what was not as it should be; empty if nothing.
        start: the largest loss.
        means: of W, smallest and largest; of AffinityNet only.
        deviation: of W, the smallest.
    """

    wrong: tuple[str, ...]
    start: float
    means: tuple[float, float] = (math.nan, math.nan)
    deviation: float = math.nan


def sample_of(size: int) -> Sample:
    """Two images of four quarters, one of them the background."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.tensor([[0, 1], [2, 0]]), torch.tensor([[3, 0], [0, 1]])])
    labels = labels.repeat_interleave(size // 2, 1).repeat_interleave(size // 2, 2)
    colours = torch.randn(1 + CLASSES, 3, generator=generator)
    pixels = colours[labels].permute(0, 3, 1, 2) + 0.3 * torch.randn(2, 3, *labels.shape[1:], generator=generator)
    tags = torch.stack([(labels == label).flatten(1).any(dim=1) for label in range(1, 1 + CLASSES)], dim=1)
    return Sample(pixels, tags, labels)


@contextmanager
def scaled(backbone: Backbone, scale: float) -> Iterator[None]:
    """The backbone's maps are so many times as large."""
    hook = backbone.register_forward_hook(lambda _, __, levels: [level * scale for level in levels])
    try:
        yield
    finally:
        hook.remove()


def backbone_of(name: str, *, pooled: bool = False, for_pairs: bool = False) -> Backbone:
    """A backbone at stride 16 if it can, else at its own; for AffinityNet without the level of stride 32."""
    try:
        return Backbone(name, 16, pooled=pooled)
    except StrideError as error:
        keep = without_last(1) if for_pairs and error.found > 16 else None
        return Backbone(name, error.found, keep=keep, pooled=pooled)


def cells_of(labels: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, H, W) -> (B, h, w), the nearest label."""
    return nn.functional.interpolate(labels[:, None].float(), size, mode="nearest")[:, 0].long()


def classifier_loss(net: nn.Module, sample: Sample) -> tuple[Tensor, Tensor | None]:
    """Of tags."""
    return tag_loss(net(sample.pixels), sample.tags), None


def affinity_loss(net: nn.Module, sample: Sample) -> tuple[Tensor, Tensor | None]:
    """Of pairs, and W of those inside the map."""
    features, offsets = net(sample.pixels), half_disc_offsets(5)
    targets = pair_targets(cells_of(sample.labels, features.shape[-2:]), offsets)
    affinity = pair_affinity(features, offsets)
    inside = targets.same_background | targets.same_object | targets.different
    return torch.stack(list(pair_loss(affinity, targets).values())).sum(), affinity.detach()[inside]


def segmenter_loss(net: nn.Module, sample: Sample) -> tuple[Tensor, Tensor | None]:
    """Of pixels."""
    return label_loss(net(sample.pixels), sample.labels), None


def region_loss(net: nn.Module, sample: Sample) -> tuple[Tensor, Tensor | None]:
    """Of the quarters of both images, as regions."""
    rows, columns = (torch.arange(length) * 2 // length for length in sample.labels.shape[-2:])
    quarters = 2 * rows[:, None] + columns
    ids = torch.stack([quarters, 4 + quarters])
    labels = torch.zeros(8, dtype=torch.int64).scatter_(0, ids.flatten(), sample.labels.flatten())
    return nn.functional.cross_entropy(net(sample.pixels, ids, 8), labels), None


def pairwise_loss(net: nn.Module, sample: Sample) -> tuple[Tensor, Tensor | None]:
    """Of maps that were spread."""
    given = torch.full((2, 1 + CLASSES, *sample.labels.shape[1:]), 0.1)
    given = given.scatter(1, sample.labels[:, None], 0.7)
    spread = net(sample.pixels, given)
    labels = cells_of(sample.labels, spread.shape[-2:])
    return nn.functional.nll_loss(spread.clamp(min=1e-5).log(), labels), None


Loss = Callable[[nn.Module, Sample], tuple[Tensor, Tensor | None]]

NETS: dict[str, tuple[Callable[[Backbone], nn.Module], Loss]] = {
    "classifier": (partial(CamClassifier, num_classes=CLASSES), classifier_loss),
    "affinity": (AffinityNet, affinity_loss),
    "segmenter": (partial(DeepLab, num_classes=CLASSES, width=64, rates=(2, 4)), segmenter_loss),
    "regions": (partial(RegionNet, num_classes=CLASSES), region_loss),
    "pairwise": (partial(PairwiseNetwork, width=32), pairwise_loss),
}
"""Our networks and what each of them is to make small."""


def look(net: nn.Module, loss_of: Loss, sample: Sample, cases: Sequence[tuple[float, torch.dtype]] = CASES) -> Seen:
    """One step backwards for each scale and precision."""
    wrong, starts, means, deviations = [], [], [], []
    backbone: Any = net.backbone
    net.train()
    for scale, precision in cases:
        where = f"x {scale:g}, {str(precision).removeprefix('torch.')}"
        net.zero_grad(set_to_none=True)
        with scaled(backbone, scale), torch.autocast("cpu", precision, enabled=precision != torch.float32):
            loss, affinity = loss_of(net, sample)
        loss.float().backward()
        starts.append(float(loss.detach()))
        slopes = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        if not math.isfinite(starts[-1]):
            wrong.append(f"{where}: loss {starts[-1]}")
        elif not slopes or not all(bool(slope.isfinite().all()) for slope in slopes):
            wrong.append(f"{where}: gradient not finite")
        if affinity is not None:
            means.append(float(affinity.mean()))
            deviations.append(float(affinity.std()))
            if not (LEAST_MEAN < means[-1] < 1 - LEAST_MEAN and deviations[-1] > LEAST_DEVIATION):
                wrong.append(f"{where}: W {means[-1]:.3f} +- {deviations[-1]:.4f}")
    range_of_means = (min(means), max(means)) if means else (math.nan, math.nan)
    return Seen(tuple(wrong), max(starts), range_of_means, min(deviations, default=math.nan))


def backbones_of(name: str) -> dict[str, Backbone]:
    """For each of our networks the backbone that it gets."""
    whole = backbone_of(name)
    alone = backbone_of(name, for_pairs=True) if whole.output_stride > 16 else whole
    return {"classifier": backbone_of(name, pooled=True), "affinity": alone} | dict.fromkeys(list(NETS)[2:], whole)


@torch.no_grad()
def std_of_maps(backbone: Backbone, sample: Sample) -> float:
    """How large the maps are by themselves."""
    return float(backbone.train()(sample.pixels)[-1].std())


def row_of(name: str, sample: Sample) -> list[str]:
    """One line of the table: what was seen, or why the backbone can not be had."""
    if not timm.is_model(name):
        return [name, "this timm does not have it"]
    torch.manual_seed(0)
    try:
        backbones = backbones_of(name)
    except ValueError as error:
        return [name, f"ValueError: {error}"]
    seen = {}
    for kind, (build, loss_of) in NETS.items():
        try:
            seen[kind] = look(build(backbones[kind]), loss_of, sample)
        except (RuntimeError, ValueError, IndexError, StopIteration) as error:
            seen[kind] = Seen((f"{type(error).__name__}: {error}",), math.nan)
    affinity = seen["affinity"]
    return [
        name,
        str(backbones["classifier"].output_stride),
        f"{std_of_maps(backbones['classifier'], sample):.2g}",
        *("yes" if not found.wrong else "; ".join(found.wrong) for found in seen.values()),
        f"{affinity.means[0]:.2f}..{affinity.means[1]:.2f}",
        f"{affinity.deviation:.3f}",
        " ".join(f"{found.start:.2g}" for found in seen.values()),
    ]


HEAD = ("network", "stride", "std of maps", *NETS, "mean of W", "least std of W", "largest first losses")


def main() -> None:
    """Print one row per network."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everything = [name for names in FAMILIES.values() for name in names]
    parser.add_argument("--networks", nargs="+", default=everything, metavar="NAME")
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    arguments = parser.parse_args()
    sample = sample_of(arguments.size)
    family_of = {name: family for family, names in FAMILIES.items() for name in names}
    print(f"| family | {' | '.join(HEAD)} |\n|{'---|' * (len(HEAD) + 1)}")
    for name in arguments.networks:
        row = row_of(name, sample)
        print(f"| {family_of.get(name, '')} | {' | '.join(row + [''] * (len(HEAD) - len(row)))} |", flush=True)


if __name__ == "__main__":
    main()
