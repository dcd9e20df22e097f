"""The four networks of AffinityNet's authors, layer by layer, on flat dictionaries with their names.

What is known of them (names, channels, strides, dilations, order) is written down here once more, row by row, without a
look at our networks. Batch norm has its running statistics, there is no dropout: networks that are no longer trained.
"""

import torch
import torch.nn.functional as F

# Name, channels in, between and out, stride, dilation of the first and of the second 3x3 convolution.
RESNET38_BLOCKS = [
    ("b2", 64, 128, 128, 2, 1, 1),
    ("b2_1", 128, 128, 128, 1, 1, 1),
    ("b2_2", 128, 128, 128, 1, 1, 1),
    ("b3", 128, 256, 256, 2, 1, 1),
    ("b3_1", 256, 256, 256, 1, 1, 1),
    ("b3_2", 256, 256, 256, 1, 1, 1),
    ("b4", 256, 512, 512, 2, 1, 1),
    ("b4_1", 512, 512, 512, 1, 1, 1),
    ("b4_2", 512, 512, 512, 1, 1, 1),
    ("b4_3", 512, 512, 512, 1, 1, 1),
    ("b4_4", 512, 512, 512, 1, 1, 1),
    ("b4_5", 512, 512, 512, 1, 1, 1),
    ("b5", 512, 512, 1024, 1, 1, 2),
    ("b5_1", 1024, 512, 1024, 1, 2, 2),
    ("b5_2", 1024, 512, 1024, 1, 2, 2),
]
# Name, channels in, after the first, second and third convolution; the second is 3x3 and dilated by 4.
RESNET38_BOTTLENECKS = [("b6", 1024, 512, 1024, 2048), ("b7", 2048, 1024, 2048, 4096)]

# Name, channels in and out, side of the kernel, dilation; a number is the stride of a pooling.
VGG16_LAYERS = [
    ("conv1_1", 3, 64, 3, 1),
    ("conv1_2", 64, 64, 3, 1),
    2,
    ("conv2_1", 64, 128, 3, 1),
    ("conv2_2", 128, 128, 3, 1),
    2,
    ("conv3_1", 128, 256, 3, 1),
    ("conv3_2", 256, 256, 3, 1),
    ("conv3_3", 256, 256, 3, 1),
    2,
    ("conv4_1", 256, 512, 3, 1),
    ("conv4_2", 512, 512, 3, 1),
    ("conv4_3", 512, 512, 3, 1),
    1,
    ("conv5_1", 512, 512, 3, 2),
    ("conv5_2", 512, 512, 3, 2),
    ("conv5_3", 512, 512, 3, 2),
    ("fc6", 512, 1024, 3, None),
    ("fc7", 1024, 1024, 1, 1),
]
FC6_DILATION = {"classifier": 1, "affinity": 4}


def norm_shapes(name, channels):
    return {f"{name}.{leaf}": (channels,) for leaf in ("weight", "bias", "running_mean", "running_var")}


def resnet38_shapes():
    """Shape of each tensor of the backbone, by name."""
    shapes = {"conv1a.weight": (64, 3, 3, 3)}
    for name, inputs, middle, outputs, *_ in RESNET38_BLOCKS:
        shapes |= norm_shapes(f"{name}.bn_branch2a", inputs)
        shapes[f"{name}.conv_branch2a.weight"] = (middle, inputs, 3, 3)
        shapes |= norm_shapes(f"{name}.bn_branch2b1", middle)
        shapes[f"{name}.conv_branch2b1.weight"] = (outputs, middle, 3, 3)
        if inputs != outputs:
            shapes[f"{name}.conv_branch1.weight"] = (outputs, inputs, 1, 1)
    for name, inputs, first, second, outputs in RESNET38_BOTTLENECKS:
        shapes |= norm_shapes(f"{name}.bn_branch2a", inputs)
        shapes[f"{name}.conv_branch2a.weight"] = (first, inputs, 1, 1)
        shapes |= norm_shapes(f"{name}.bn_branch2b1", first)
        shapes[f"{name}.conv_branch2b1.weight"] = (second, first, 3, 3)
        shapes |= norm_shapes(f"{name}.bn_branch2b2", second)
        shapes[f"{name}.conv_branch2b2.weight"] = (outputs, second, 1, 1)
        shapes[f"{name}.conv_branch1.weight"] = (outputs, inputs, 1, 1)
    return shapes | norm_shapes("bn7", 4096)


def vgg16_shapes():
    """Shape of each tensor of the backbone, by name."""
    shapes = {}
    for name, inputs, outputs, side, _ in (layer for layer in VGG16_LAYERS if layer not in (1, 2)):
        shapes[f"{name}.weight"] = (outputs, inputs, side, side)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes


def head_shapes(backbone, kind, classes=20):
    """Shape of each tensor on top of the backbone, by name."""
    if kind == "classifier":
        return {"fc8.weight": (classes, {"resnet38": 4096, "vgg16_dilated": 1024}[backbone], 1, 1)}
    taps = {"resnet38": (512, 1024, 4096), "vgg16_dilated": (512, 512, 1024)}[backbone]
    shapes = {f"f8_{3 + i}.weight": (side, taps[i], 1, 1) for i, side in enumerate((64, 128, 256))}
    if backbone == "vgg16_dilated":
        for name, side in (("gn8_3", 64), ("gn8_4", 128), ("gn8_5", 256)):
            shapes |= {f"{name}.weight": (side,), f"{name}.bias": (side,)}
    return shapes | {"f9.weight": (448, 448, 1, 1)}


def draw_weights(shapes, seed=0):
    """Random tensors; norms far from doing nothing, affinities far from 0 and from 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        value = torch.empty(shape).uniform_(-1, 1, generator=generator)
        if len(shape) == 4:
            value *= (3 / (shape[1] * shape[2] * shape[3])) ** 0.5
        elif name.endswith(("running_var", "weight")):
            value = 1 + value / 2
        else:
            value /= 4
        weights[name] = value
    if "conv1_1.weight" in weights:
        # For pixels from -128 to 127.
        weights["conv1_1.weight"] /= 64
    return weights


def norm_and_relu(weights, name, maps):
    """(x - mean) / sqrt(variance + 1e-5) * weight + bias, cut off at zero."""
    mean, variance, weight, bias = (
        weights[f"{name}.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    return ((maps - mean) / (variance + 1e-5).sqrt() * weight + bias).clamp(min=0)


def resnet38_taps(weights, pixels):
    """What comes out of the batch norm and ReLU in front of b5, in front of b6, and behind b7."""
    taps = {}
    maps = F.conv2d(pixels, weights["conv1a.weight"], padding=1)
    for name, _, _, _, stride, first, second in RESNET38_BLOCKS:
        before = norm_and_relu(weights, f"{name}.bn_branch2a", maps)
        taps[name] = before
        inner = F.conv2d(before, weights[f"{name}.conv_branch2a.weight"], None, stride, first, first)
        inner = norm_and_relu(weights, f"{name}.bn_branch2b1", inner)
        inner = F.conv2d(inner, weights[f"{name}.conv_branch2b1.weight"], None, 1, second, second)
        shortcut = weights.get(f"{name}.conv_branch1.weight")
        maps = inner + (maps if shortcut is None else F.conv2d(before, shortcut, None, stride))
    for name, *_ in RESNET38_BOTTLENECKS:
        before = norm_and_relu(weights, f"{name}.bn_branch2a", maps)
        taps[name] = before
        inner = F.conv2d(before, weights[f"{name}.conv_branch2a.weight"])
        inner = norm_and_relu(weights, f"{name}.bn_branch2b1", inner)
        inner = F.conv2d(inner, weights[f"{name}.conv_branch2b1.weight"], None, 1, 4, 4)
        inner = norm_and_relu(weights, f"{name}.bn_branch2b2", inner)
        inner = F.conv2d(inner, weights[f"{name}.conv_branch2b2.weight"])
        maps = inner + F.conv2d(before, weights[f"{name}.conv_branch1.weight"])
    return taps["b5"], taps["b6"], norm_and_relu(weights, "bn7", maps)


def vgg16_taps(weights, pixels, kind):
    """What comes out of conv4_3, conv5_3 and fc7.

    Args:
        weights: by name.
        pixels: blue, green and red from 0 to 255, less 104.008, 116.669 and 122.675.
        kind: classifier or affinity.
    """
    outputs, maps = {}, pixels
    for layer in VGG16_LAYERS:
        if layer in (1, 2):
            maps = F.max_pool2d(maps, kernel_size=3, stride=layer, padding=1)
            continue
        name, _, _, side, dilation = layer
        dilation = FC6_DILATION[kind] if name == "fc6" else dilation
        padding = dilation if side == 3 else 0
        maps = F.conv2d(maps, weights[f"{name}.weight"], weights[f"{name}.bias"], 1, padding, dilation).clamp(min=0)
        outputs[name] = maps
    return outputs["conv4_3"], outputs["conv5_3"], outputs["fc7"]


def taps_by_layers(backbone, kind, weights, pixels):
    """The three maps of either backbone."""
    return resnet38_taps(weights, pixels) if backbone == "resnet38" else vgg16_taps(weights, pixels, kind)


def cams_by_layers(backbone, weights, pixels):
    """(B, C, h, w) class activation maps; those of the VGG-16 under the root."""
    maps = F.conv2d(taps_by_layers(backbone, "classifier", weights, pixels)[-1], weights["fc8.weight"]).clamp(min=0)
    return maps.sqrt() if backbone == "vgg16_dilated" else maps


def logits_by_layers(backbone, weights, pixels):
    """(B, C): the mean of the maps, before they are cut off."""
    maps = F.conv2d(taps_by_layers(backbone, "classifier", weights, pixels)[-1], weights["fc8.weight"])
    return maps.mean(dim=(2, 3))


def affinity_features_by_layers(backbone, weights, pixels):
    """(B, 448, h, w)."""
    sides, taps = [], taps_by_layers(backbone, "affinity", weights, pixels)
    for number, groups, tap in zip((3, 4, 5), (8, 16, 32), taps, strict=True):
        side = F.conv2d(tap, weights[f"f8_{number}.weight"])
        if backbone == "vgg16_dilated":
            side = F.group_norm(side, groups, weights[f"gn8_{number}.weight"], weights[f"gn8_{number}.bias"])
        sides.append(F.elu(side))
    return F.elu(F.conv2d(torch.cat(sides, dim=1), weights["f9.weight"]))


def affinities_by_pairs(features, offsets):
    """(B, P, h, w): exp(-mean |f_i - f_j|) cell by cell; 0 where the second cell lies outside."""
    batch, _, height, width = features.shape
    found = torch.zeros(batch, len(offsets), height, width)
    for p, (down, right) in enumerate(offsets):
        for y in range(height - down):
            for x in range(max(0, -right), min(width, width - right)):
                apart = (features[:, :, y, x] - features[:, :, y + down, x + right]).abs()
                found[:, p, y, x] = (-apart.mean(dim=1)).exp()
    return found
