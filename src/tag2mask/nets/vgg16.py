"""VGG-16 with dilated convolutions, the second backbone of AffinityNet's authors.

Sources: Simonyan & Zisserman, ICLR 2015; Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and
Fully Connected CRFs", ICLR 2015, for the dilation and for the two fully connected layers of 1024 channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from timm.models import FeatureInfo
from torch import Tensor, nn

from tag2mask.checks import check_choice, check_number

STRIDES = (8, 16)
"""Image pixels per cell of the last map that the net can have."""

SIDE_GROUPS = (8, 16, 32)
"""Groups of the group norm after each of AffinityNet's side convolutions (authors' code for VGG-16)."""

PIXEL_MEAN = (122.675, 116.669, 104.008)
"""What the authors take from red, green and blue, 0 to 255."""

PIXEL_SCALE = 64.0
"""By what the pixels are divided, so that they are about 1, as other networks have them; the authors do not divide. A
power of two goes into the first convolution's weights, and comes out again, without rounding."""

_STAGES = {1: (3, 64, 2), 2: (64, 128, 2), 3: (128, 256, 3), 4: (256, 512, 3), 5: (512, 512, 3)}
"""Stage -> channels that come in and out, and how many convolutions it has."""

_CONTEXT = 1024
_LEVELS = 6


class Vgg16Dilated(nn.Module):
    """Five stages of 3x3 convolutions, then a 3x3 and a 1x1 one in the place of the fully connected layers.

    Args:
        output_stride: image pixels per cell of the last map (authors: 8).
        levels: keep only the first ones; each is what comes out of a stage.

    Attributes:
        feature_info: channels and strides of the levels, as timm has them.
        pretrained_cfg: ``mean`` and ``std`` of the pixels that it wants.
        frozen_modules: what the authors keep as it is.

    Raises:
        ValueError: for another stride or number of levels.

    Example:
        >>> import torch
        >>> net = Vgg16Dilated(output_stride=8)
        >>> [tuple(level.shape[1:]) for level in net(torch.zeros(1, 3, 30, 32))][-3:]
        [(512, 4, 4), (512, 4, 4), (1024, 4, 4)]
    """

    frozen_modules = ("stage1", "stage2")

    def __init__(self, output_stride: int = 8, levels: int = _LEVELS) -> None:
        super().__init__()
        check_choice("Vgg16Dilated: output_stride", output_stride, STRIDES)
        check_number("Vgg16Dilated: levels", levels, 1, _LEVELS + 1)
        self.output_stride = output_stride
        # Between the stages; behind the last of them there is no pooling (authors' code).
        self.pool_strides = (2, 2, 2, output_stride // 8)
        info = []
        for number, (inputs, outputs, count) in list(_STAGES.items())[:levels]:
            dilation = 16 // output_stride if number == 5 else 1
            self.add_module(f"stage{number}", _stage(inputs, outputs, count, dilation))
            stride = min(2 ** (number - 1), output_stride)
            info.append({"num_chs": outputs, "reduction": stride, "module": f"stage{number}"})
        if levels == _LEVELS:
            self.stage6 = _context(info[-1]["num_chs"])
            info.append({"num_chs": _CONTEXT, "reduction": output_stride, "module": "stage6"})
        self.feature_info = FeatureInfo(info, tuple(range(levels)))
        self.pretrained_cfg = {"mean": tuple(mean / 255 for mean in PIXEL_MEAN), "std": (PIXEL_SCALE / 255,) * 3}

    def widen_context(self) -> None:
        """Dilate the 3x3 convolution of stage 6 as in the authors' AffinityNet: by 4 at stride 8 (classifier: 1)."""
        if len(self.feature_info.info) == _LEVELS:
            first = self.stage6[0]
            assert isinstance(first, nn.Conv2d)
            first.dilation = first.padding = (32 // self.output_stride,) * 2

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps from fine to coarse.

        Args:
            pixels: (B, 3, H, W) normalised.

        Returns:
            (B, D, ceil(H / stride), ceil(W / stride)) with D 64, 128, 256, 512, 512, 1024 at strides 1, 2, 4, 8, 8, 8.
        """
        levels, maps = [], pixels
        for index, stage in enumerate(self.children()):
            if 0 < index <= len(self.pool_strides):
                # Three wide where the original is two: the cells of all strides lie on each other (Chen et al.).
                maps = F.max_pool2d(maps, 3, self.pool_strides[index - 1], padding=1)
            maps = stage(maps)
            levels.append(maps)
        return levels


def _stage(inputs: int, outputs: int, count: int, dilation: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        given = outputs if index else inputs
        layers += [nn.Conv2d(given, outputs, 3, padding=dilation, dilation=dilation), nn.ReLU()]
    return nn.Sequential(*layers)


def _context(inputs: int) -> nn.Sequential:
    """The fully connected layers as convolutions, with dropout of whole channels between them."""
    return nn.Sequential(
        nn.Conv2d(inputs, _CONTEXT, 3, padding=1),
        nn.ReLU(),
        nn.Dropout2d(0.5),
        nn.Conv2d(_CONTEXT, _CONTEXT, 1),
        nn.ReLU(),
    )
