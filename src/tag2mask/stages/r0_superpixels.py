"""IAL: images -> superpixels, once for all rounds (Wang et al., IJCV 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.ops.superpixels import SuperpixelSettings, resize_regions, superpixels
from tag2mask.parallel import map_images
from tag2mask.records import Regions
from tag2mask.runs.artefacts import read_regions, write_regions
from tag2mask.runs.round import SUPERPIXELS

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder


def make_superpixels(data: TagDataset, run: RunFolder, settings: SuperpixelSettings) -> None:
    """Split every training image into superpixels, once for all rounds, or find it done.

    Args:
        data: images.
        run: where the regions go.
        settings: how.
    """
    stage = run.open_stage(SUPERPIXELS, settings)
    if stage.finished:
        return

    def work(path: str) -> int:
        image = data[path.removeprefix("regions/")]
        regions = superpixels(image.pixels, settings)
        regions = Regions(resize_regions(regions.ids, image.size), regions.count)
        write_regions(stage.file(path, ".npz"), regions)
        return regions.count

    names = [f"regions/{name}" for name in data.names]
    missing = stage.missing(names, ".npz")
    counts = map_images(work, missing, SUPERPIXELS)
    # Of images that were done before a stop.
    counts += [read_regions(stage.file(path, ".npz")).count for path in set(names) - set(missing)]
    mean = sum(counts) / max(1, len(counts))
    stage.finish(f"{settings.algorithm}, {mean:.0f} superpixels an image", items=len(data.names))
