"""What the modules of our networks are called in the code of AffinityNet's authors, and in torchvision."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_NAMES = {
    "head": "fc8",
    **{f"sides.{index}": f"f8_{3 + index}" for index in range(3)},
    **{f"side_norms.{index}": f"gn8_{3 + index}" for index in range(3)},
    "merge": "f9",
}
"""Our modules behind the backbone -> theirs."""


def resnet38_names() -> dict[str, str]:
    """Modules of our ResNet-38 -> modules of theirs.

    Example:
        >>> names = resnet38_names()
        >>> names["stage5.1.conv2"], names["norm4"], names["norm7"]
        ('b5_1.conv_branch2b1', 'b5.bn_branch2a', 'bn7')
    """
    names = {"stage1": "conv1a"}
    for stage, blocks in {2: 3, 3: 3, 4: 6, 5: 3, 6: 1, 7: 1}.items():
        for block in range(blocks):
            ours = f"stage{stage}" if blocks == 1 else f"stage{stage}.{block}"
            theirs = f"b{stage}_{block}" if block else f"b{stage}"
            # Their first block of a stage holds what is our batch norm behind the stage before.
            names[f"{ours}.norm1" if block else f"norm{stage - 1}"] = f"{theirs}.bn_branch2a"
            names[f"{ours}.conv1"] = f"{theirs}.conv_branch2a"
            for index in (1, 2) if blocks == 1 else (1,):
                names[f"{ours}.norm{1 + index}"] = f"{theirs}.bn_branch2b{index}"
                names[f"{ours}.conv{1 + index}"] = f"{theirs}.conv_branch2b{index}"
            if not block:
                names[f"{ours}.shortcut"] = f"{theirs}.conv_branch1"
    return {**names, "norm7": "bn7"}


_VGG16 = (
    ("stage1.0", "conv1_1", "features.0"),
    ("stage1.2", "conv1_2", "features.2"),
    ("stage2.0", "conv2_1", "features.5"),
    ("stage2.2", "conv2_2", "features.7"),
    ("stage3.0", "conv3_1", "features.10"),
    ("stage3.2", "conv3_2", "features.12"),
    ("stage3.4", "conv3_3", "features.14"),
    ("stage4.0", "conv4_1", "features.17"),
    ("stage4.2", "conv4_2", "features.19"),
    ("stage4.4", "conv4_3", "features.21"),
    ("stage5.0", "conv5_1", "features.24"),
    ("stage5.2", "conv5_2", "features.26"),
    ("stage5.4", "conv5_3", "features.28"),
)
"""Modules of our VGG-16, of theirs, and of torchvision's and timm's."""

BACKBONE_NAMES = {
    "resnet38": resnet38_names(),
    "vgg16_dilated": {**{ours: theirs for ours, theirs, _ in _VGG16}, "stage6.0": "fc6", "stage6.3": "fc7"},
}
"""Name of the backbone -> its modules in our words -> in theirs."""

TORCHVISION_NAMES = {ours: torchvision for ours, _, torchvision in _VGG16}
"""Modules of our VGG-16 -> those of torchvision and timm."""


def module_of(name: str) -> str:
    """The module that a tensor is in: its name without the last word."""
    return name.rpartition(".")[0]


def renamed(name: str, names: Mapping[str, str]) -> str:
    """The name of a tensor, with its module's name looked up."""
    return f"{names[module_of(name)]}.{name.rpartition('.')[2]}"


def whole_names(backbone: str) -> dict[str, str]:
    """Modules of a classifier or AffinityNet -> theirs."""
    return {**{f"backbone.net.{ours}": theirs for ours, theirs in BACKBONE_NAMES[backbone].items()}, **HEAD_NAMES}
