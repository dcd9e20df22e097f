"""The networks of AffinityNet's authors, by name; all others are timm's."""

from __future__ import annotations

from tag2mask.nets.resnet38 import ResNet38
from tag2mask.nets.vgg16 import Vgg16Dilated

PaperBackbone = ResNet38 | Vgg16Dilated

PAPER_BACKBONES: dict[str, type[PaperBackbone]] = {"resnet38": ResNet38, "vgg16_dilated": Vgg16Dilated}


def freeze_first_stages(net: PaperBackbone) -> None:
    """Keep the weights of the stages that the authors do not train (`frozen_modules`).

    Args:
        net: changed in place.
    """
    for name in net.frozen_modules:
        net.get_submodule(name).requires_grad_(False)
