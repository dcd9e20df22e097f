"""IAL: images -> superpixels, once for all rounds (Wang et al., IJCV 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.ops.superpixels import SuperpixelSettings, resize_regions, superpixels
from tag2mask.parallel import map_images
from tag2mask.records import Regions
from tag2mask.runs.places import SUPERPIXELS

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.runs.run_folder import RunFolder


def make_superpixels(data: TagDataset, run: RunFolder, settings: SuperpixelSettings) -> None:
    """Split every training image into superpixels, once for all rounds, or find it done.

    Args:
        data: images.
        run: where the regions go.
        settings: algorithm, and how many superpixels.
    """
    stage = run.open_stage(SUPERPIXELS, settings)
    if stage.finished:
        return

    found = run.superpixels

    def work(name: str) -> int:
        image = data[name]
        regions = superpixels(image.pixels, settings)
        found.write(name, Regions(resize_regions(regions.ids, image.image_size), regions.count))
        return regions.count

    missing = found.missing(data.names)
    counts = map_images(work, missing, SUPERPIXELS)
    # Of images that were done before a stop.
    counts += [found[name].count for name in set(data.names) - set(missing)]
    mean = sum(counts) / max(1, len(counts))
    stage.finish(f"{settings.algorithm}, {mean:.0f} superpixels an image", items=len(data.names))
