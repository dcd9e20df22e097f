"""The wide ResNet-38 "A1", the backbone of AffinityNet's authors (Wu et al., Pattern Recognition 2019)."""

from __future__ import annotations

import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import Tensor, nn

from tag2mask.checks import check_choice, check_number

STRIDES = (8, 16, 32)
"""Image pixels per cell of the last map that the net can have."""

_PLAIN = {2: (64, 128, 128, 3), 3: (128, 256, 256, 3), 4: (256, 512, 512, 6), 5: (512, 512, 1024, 3)}
"""Stage -> channels that come in, between its convolutions and out, and how many blocks it has."""

_BOTTLENECK = {6: (1024, 2048, 0.3), 7: (2048, 4096, 0.5)}
"""Stage -> channels that come in and out, and the dropout (authors' code)."""

_LEVEL_STAGES = (1, 2, 3, 4, 5, 7)
"""The stages whose maps are feature levels."""


class ResNet38(nn.Module):
    """Seven stages, far wider than they are deep; a level is what the next stage sees: after batch norm and ReLU.

    With trained weights only: the batch norms never learn, as in the authors' code, so that from scratch they would do
    nothing at all.

    Args:
        output_stride: image pixels per cell of the last map (authors: 8; without dilation: 32).
        levels: keep only the first ones, and the stages that they need.

    Attributes:
        feature_info: channels and strides of the levels, as timm has them.
        pretrained_cfg: ``mean`` and ``std`` of the pixels that it wants.
        frozen_modules: what the authors keep as it is, beside the batch norms.

    Raises:
        ValueError: for another stride or number of levels.

    Example:
        >>> import torch
        >>> net = ResNet38(output_stride=8, levels=3)
        >>> [tuple(level.shape) for level in net(torch.zeros(1, 3, 30, 32))]
        [(1, 64, 30, 32), (1, 128, 15, 16), (1, 256, 8, 8)]
    """

    frozen_modules = ("stage1", "stage2")

    def __init__(self, output_stride: int = 8, levels: int = len(_LEVEL_STAGES)) -> None:
        super().__init__()
        check_choice("ResNet38: output_stride", output_stride, STRIDES)
        check_number("ResNet38: levels", levels, 1, len(_LEVEL_STAGES) + 1)
        strides = {1: 1, 2: 2, 3: 2, 4: 2, 5: 2 if output_stride > 8 else 1, 6: 2 if output_stride > 16 else 1, 7: 1}
        self.stages = tuple(range(1, _LEVEL_STAGES[levels - 1] + 1))
        info, reduction = [], 1
        for number in self.stages:
            # Where a stage does not halve the map, as it does in the published net for images, the kernels widen.
            reduction *= strides[number]
            dilation = {5: 16, 6: 32, 7: 32}.get(number, reduction) // reduction
            stage, outputs = _stage(number, strides[number], dilation)
            self.add_module(f"stage{number}", stage)
            self.add_module(f"norm{number}", nn.BatchNorm2d(outputs))
            if number in _LEVEL_STAGES:
                info.append({"num_chs": outputs, "reduction": reduction, "module": f"norm{number}"})
        self.feature_info = FeatureInfo(info, tuple(range(levels)))
        self.pretrained_cfg = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
        for norm in self._norms():
            norm.requires_grad_(False)

    def train(self, mode: bool = True) -> ResNet38:
        """Training mode for all but the batch norms, which keep their statistics (authors' code)."""
        super().train(mode)
        for norm in self._norms():
            norm.eval()
        return self

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps from fine to coarse.

        Args:
            pixels: (B, 3, H, W) normalised.

        Returns:
            (B, D, ceil(H / stride), ceil(W / stride)) with D 64, 128, 256, 512, 1024, 4096 at strides 1, 2, 4, 8, 8, 8.
        """
        levels, maps = [], pixels
        for number in self.stages:
            maps = self.get_submodule(f"stage{number}")(maps)
            maps = F.relu(self.get_submodule(f"norm{number}")(maps))
            if number in _LEVEL_STAGES:
                levels.append(maps)
        return levels

    def _norms(self) -> list[nn.BatchNorm2d]:
        return [part for part in self.modules() if isinstance(part, nn.BatchNorm2d)]


def _stage(number: int, stride: int, dilation: int) -> tuple[nn.Module, int]:
    """A stage, and how many channels come out of it."""
    if number == 1:
        return nn.Conv2d(3, 64, 3, padding=1, bias=False), 64
    if number in _BOTTLENECK:
        inputs, outputs, dropout = _BOTTLENECK[number]
        return _Bottleneck(inputs, outputs, stride, dilation, dropout), outputs
    inputs, middle, outputs, count = _PLAIN[number]
    # The first convolution looks at the map of the stage before, which is not dilated yet.
    first = _FirstBlock(inputs, middle, outputs, stride, dilation)
    return nn.Sequential(first, *(_Block(outputs, middle, dilation) for _ in range(count - 1))), outputs


def _conv3(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)


class _FirstBlock(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one; the maps that come in are normalised and above zero already."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv3(inputs, middle, stride)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2 = _conv3(middle, outputs, dilation=dilation)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        inner = self.conv2(F.relu(self.norm2(self.conv1(maps))))
        joined: Tensor = inner + self.shortcut(maps)
        return joined


class _Block(nn.Module):
    """Two 3x3 convolutions, each after batch norm and ReLU, added to what came in."""

    def __init__(self, channels: int, middle: int, dilation: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = _conv3(channels, middle, dilation=dilation)
        self.norm2 = nn.BatchNorm2d(middle)
        self.conv2 = _conv3(middle, channels, dilation=dilation)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        inner = self.conv1(F.relu(self.norm1(maps)))
        joined: Tensor = maps + self.conv2(F.relu(self.norm2(inner)))
        return joined


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a 1x1 one; the maps that come in are normalised and above zero already."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs // 4, 1, stride, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs // 4)
        self.conv2 = _conv3(outputs // 4, outputs // 2, dilation=dilation)
        self.norm3 = nn.BatchNorm2d(outputs // 2)
        self.conv3 = nn.Conv2d(outputs // 2, outputs, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        # Of whole channels.
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / stride), ceil(W / stride))."""
        inner = self.dropout(F.relu(self.norm2(self.conv1(maps))))
        inner = self.dropout(F.relu(self.norm3(self.conv2(inner))))
        joined: Tensor = self.conv3(inner) + self.shortcut(maps)
        return joined
