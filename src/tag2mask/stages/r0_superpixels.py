"""IAL: images -> superpixels, once for all rounds (Wang et al., IJCV 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tag2mask.ops.segments import fill_gaps
from tag2mask.ops.superpixels import SuperpixelSettings, resize_regions, superpixels
from tag2mask.parallel import map_images
from tag2mask.records import Regions
from tag2mask.runs.places import SUPERPIXELS

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.datasets.outside_segments import OutsideSegments
    from tag2mask.runs.run_folder import RunFolder


@dataclass(frozen=True)
class MadeOutside:
    """What segments that another method made add to the settings that results depend on.

    Args:
        outside_segments: digest of the file.
    """

    outside_segments: str


def make_superpixels(
    data: TagDataset, run: RunFolder, settings: SuperpixelSettings, segments: OutsideSegments | None = None
) -> None:
    """Split every training image into superpixels, once for all rounds, or find it done.

    Args:
        data: images.
        run: where the regions go.
        settings: algorithm, and how many superpixels.
        segments: of another method, in place of superpixels; these fill what is in no segment.
    """
    stage = run.open_stage(SUPERPIXELS, settings if segments is None else (settings, MadeOutside(segments.digest)))
    if stage.finished:
        return

    found = run.superpixels

    def work(name: str) -> int:
        image = data[name]

        def own() -> Regions:
            regions = superpixels(image.pixels, settings)
            return Regions(resize_regions(regions.ids, image.image_size), regions.count)

        if segments is not None and name in segments:
            regions = fill_gaps(segments.ids(name, image.image_size), own)
        else:
            regions = own()
        found.write(name, regions)
        return regions.count

    missing = found.missing(data.names)
    counts = map_images(work, missing, SUPERPIXELS)
    # Of images that were done before a stop.
    counts += [found[name].count for name in set(data.names) - set(missing)]
    mean = sum(counts) / max(1, len(counts))
    which = settings.algorithm if segments is None else f"outside segments and {settings.algorithm}"
    stage.finish(f"{which}, {mean:.0f} superpixels an image", items=len(data.names))
