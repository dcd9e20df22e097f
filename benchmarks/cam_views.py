"""Class activation maps of the eight views of an image: ours against one view at a time, all ways in turn.

    python benchmarks/cam_views.py

Each time is that of some images from pixels in memory to maps in files, per image, the best of some repetitions, with
the net of the quick preset and random weights. The ways:

    authors   each view a batch of one, in torch's default layout; maps merged, normalised and saved at full size
    by view   the same with the channels last
    pairs     an image and its mirror image as a batch of two, channels last, batch norms folded into convolutions; maps
              merged and kept at a stride, in float16: what `image_cams` and `write_cams` do
    ours      stage 2 as it runs: pairs, several images at a time, in one thread each

A copy of the net whose batch norms are folded is made once for all images, in a sixth of a second, which counts. All of
them run in the same precision. "Difference" is the largest one between the authors' maps and ours where ours are
merged at full size, too; maps reach 1. With bfloat16, single roundings fall out differently in another layout.
"""

from __future__ import annotations

import argparse
import copy
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from tag2mask.datasets.scenes.scenes import make_scenes
from tag2mask.nets.looking import looking_copy
from tag2mask.ops.cam import merge_views, normalise_maps
from tag2mask.ops.sizes import resize_image
from tag2mask.ops.windows import normalise
from tag2mask.records import TaggedImage
from tag2mask.runs.encodings import write_cams
from tag2mask.runs.manifest import ImageNames, Manifest
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runtime import Runtime
from tag2mask.stages.s1_classify import ClassifySettings, build_classifier
from tag2mask.stages.s2_localize import LocalizeSettings, image_cams, make_cams
from timing import best_times

if TYPE_CHECKING:
    from collections.abc import Callable

    from tag2mask.nets.classifier import CamClassifier

CLASSES = 20
SIZES = {"144x144": (144, 144), "320x240": (240, 320)}


class InMemory:
    """A `TagDataset` of scenes in some size, with two tags each."""

    val_names: tuple[str, ...] = ()
    class_names = tuple(f"class {number}" for number in range(CLASSES))

    def __init__(self, size: tuple[int, int], count: int) -> None:
        scenes, tags = make_scenes(count, max(size)), torch.arange(CLASSES) < 2
        self.names = scenes.names
        self._images = {n: TaggedImage(n, resize_image(scenes[n].pixels, size), tags) for n in self.names}

    def __getitem__(self, name: str) -> TaggedImage:
        return self._images[name]


def random_classifier(side: int, runtime: Runtime) -> CamClassifier:
    """The quick preset's net; batch norms as if it had been trained, or they would change nothing."""
    net = build_classifier(ClassifySettings.quick(side), CLASSES, runtime)
    with runtime.seeded("batch norms"):
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
                nn.init.normal_(part.running_mean, std=0.1)
                nn.init.normal_(part.bias, std=0.1)
                nn.init.uniform_(part.running_var, 0.5, 2.0)
                nn.init.uniform_(part.weight, 0.5, 1.5)
    return net


def one_view_at_a_time(
    image: TaggedImage, net: CamClassifier, scales: tuple[float, ...], layout: torch.memory_format
) -> Tensor:
    """(K, H, W) float32 in [0, 1]; call inside ``runtime.inference(net)``."""
    views, mirrored = [], []
    for scale in scales:
        pixels = resize_image(image.pixels, (round(image.image_size[0] * scale), round(image.image_size[1] * scale)))
        view = normalise(pixels, net.backbone.mean, net.backbone.std)
        for flip in (False, True):
            one = (view.flip(-1) if flip else view)[None].contiguous(memory_format=layout)
            views.append(net.cams(one)[0, image.class_ids].float())
            mirrored.append(flip)
    return normalise_maps(merge_views(views, mirrored, image.image_size))


def by_view(
    data: InMemory, net: CamClassifier, settings: LocalizeSettings, runtime: Runtime, layout: torch.memory_format
) -> None:
    """Every image, one view after the other."""
    with tempfile.TemporaryDirectory() as folder, runtime.inference(net):
        for name in data.names:
            image = data[name]
            maps = one_view_at_a_time(image, net, settings.scales, layout)
            kept = dict(zip(image.class_ids.tolist(), maps.numpy(), strict=True))
            np.save(Path(folder) / f"{name}.npy", kept)  # type: ignore[arg-type]


def by_pair(data: InMemory, net: CamClassifier, settings: LocalizeSettings, runtime: Runtime) -> None:
    """Every image, one after the other, an image and its mirror image at a time."""
    net = looking_copy(net, runtime)
    with tempfile.TemporaryDirectory() as folder, runtime.inference(net):
        for name in data.names:
            write_cams(Path(folder) / f"{name}.npz", image_cams(data[name], net, settings, runtime))


def by_stage(data: InMemory, net: CamClassifier, settings: LocalizeSettings, runtime: Runtime) -> None:
    """Stage 2."""
    folder = Path(tempfile.mkdtemp())
    run = RunFolder(folder)
    run.write_manifest(Manifest(tuple(data.class_names), ""), ImageNames(tuple(data.names), ()))
    make_cams(data, net, run, settings, runtime=runtime)  # type: ignore[arg-type]
    shutil.rmtree(folder)


def measure(name: str, count: int, repetitions: int, runtime: Runtime) -> str:
    """One line of the table."""
    data = InMemory(SIZES[name], count)
    # No fence: sharpening diffuse maps reads all of them once more, and is no part of what is compared.
    settings = replace(LocalizeSettings.quick(max(SIZES[name])), fence=0.0)
    net = random_classifier(max(SIZES[name]), runtime)
    plain = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    calls: dict[str, Callable[[], object]] = {
        "authors": lambda: by_view(data, plain, settings, runtime, torch.contiguous_format),
        "by view": lambda: by_view(data, net, settings, runtime, torch.channels_last),
        "pairs": lambda: by_pair(data, net, settings, runtime),
        "ours": lambda: by_stage(data, net, settings, runtime),
    }
    times = {way: time / count for way, time in best_times(calls, repetitions).items()}
    image = data[data.names[0]]
    looking = looking_copy(net, runtime)
    with runtime.inference(looking), runtime.inference(plain):
        ours = image_cams(image, looking, replace(settings, map_stride=1), runtime).scores
        theirs = one_view_at_a_time(image, plain, settings.scales, torch.contiguous_format)
    numbers = " | ".join(f"{times[way]:.0f}" for way in calls)
    ratios = " | ".join(f"{times[way] / times['ours']:.2f}x" for way in ("authors", "by view", "pairs"))
    precision = {"32": "float32", "bf16": "bfloat16"}[runtime.precision]
    return f"| {name} | {precision} | {numbers} | {ratios} | {float((ours - theirs).abs().max()):.1e} |"


def main() -> None:
    """Print one row per size and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--precisions", nargs="+", default=["32", "bf16"], choices=["32", "bf16"])
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"ms per image, {options.threads} threads, best of {options.repetitions + 1}\n")
    print("| image | precision | authors | by view | pairs | ours | to authors | to by view | to pairs | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for precision in options.precisions:
        for name in options.sizes:
            print(measure(name, options.images, options.repetitions, Runtime("cpu", precision)), flush=True)


if __name__ == "__main__":
    main()
