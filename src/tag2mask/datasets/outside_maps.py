"""OutsideMaps: maps that another method made, in place of class activation maps, or of seeds.

A folder holds, for each image, ``NAME.npz`` (an array for each class), ``NAME/CLASS.png`` (a grey picture for each) or
``masks/NAME.png`` (seeds) with or without ``confidence/NAME.png``. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from tag2mask.checks import some
from tag2mask.datasets.images import read_grey, read_mask
from tag2mask.datasets.outside_listing import LAYOUT, MapFiles, list_maps
from tag2mask.datasets.outside_scores import checked_scores, map_arrays, map_picture
from tag2mask.disk import file_digest
from tag2mask.labels import BACKGROUND, IGNORE, labels_from_class_ids
from tag2mask.ops.cam import maps_with_odds
from tag2mask.ops.sizes import resize_labels, size_of
from tag2mask.parallel import map_images
from tag2mask.records import Cams, Seeds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.datasets.outside_listing import MapListing
    from tag2mask.records import TaggedImage

logger = logging.getLogger(__name__)

BACKGROUND_MAP = "__background__"
"""What a map of the background is called beside those of the classes."""

GIVEN_AT = 16.0
"""The alpha at which a background that is given, or that seeds tell of, is neither raised nor lowered: the walk's
published one, which lies between the two of the seeds (4 and 24)."""

SURE = 0.8
"""Seeds of less confidence are unsure: the share at which IAL calls a region one thing (Wang et al., IJCV 2020)."""


FAINT = 0.275
"""Below it the background wins at an alpha of 4, so that a map without a higher score has no sure object."""


@dataclass(frozen=True)
class Finding:
    """What a look at one image's files found.

    Args:
        digest: of their content.
        error: what is wrong with them; empty: nothing.
        gated: classes that they show and the image has no tag of.
        absent: tags that they have no map of.
        faint: whether every map of a tag is below `FAINT`, and none is of the background.
    """

    digest: str
    error: str = ""
    gated: int = 0
    absent: int = 0
    faint: bool = False


@dataclass(frozen=True, eq=False)
class OutsideMaps:
    """Maps or seeds of images, which another method made; read when asked for.

    Args:
        folder: where they lie.
        class_names: of the run, in their order.
        files: of every training image that has a tag and a map.
        digest: of these files.
    """

    folder: Path
    class_names: tuple[str, ...]
    files: Mapping[str, MapFiles]
    digest: str

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def missing(self, data: TagDataset) -> list[str]:
        """The training images that have a tag and no map; images without tags need none."""
        return [name for name in data.names if name not in self.files and bool(data.tags(name).any())]

    def cams(self, image: TaggedImage, largest: tuple[int, int]) -> Cams:
        """The maps of one image, of the classes among its tags; of seeds, maps that say the same.

        Args:
            image: one that has maps.
            largest: (height, width) that maps are shrunk to if they are larger.

        Returns:
            A class that has no map is 0 everywhere.

        Raises:
            ValueError: if a file is broken.
        """
        files, ids = self.files[image.name], image.class_ids.tolist()
        if files.labels is not None:
            maps = maps_with_odds(_shrunk(self._shares(files, ids), largest), GIVEN_AT)
            return Cams(image.name, image.class_ids, maps, image.image_size, outside=True)
        found = self._maps(files)
        wanted = [found.get(self.class_names[class_id]) for class_id in ids]
        background = found.get(BACKGROUND_MAP)
        sizes = [size_of(one) for one in (*wanted, background) if one is not None]
        size = (max((h for h, _ in sizes), default=1), max((w for _, w in sizes), default=1))
        size = (min(size[0], largest[0]), min(size[1], largest[1]))
        blank = torch.zeros(size)
        maps = torch.stack([blank if one is None else _resized(one[None], size)[0] for one in wanted])
        if background is not None:
            maps = maps_with_odds(torch.cat([_resized(background[None], size), maps]), GIVEN_AT)
        return Cams(image.name, image.class_ids, maps, image.image_size, outside=True)

    def seeds(self, image: TaggedImage) -> Seeds | None:
        """The seeds of one image at its size, labels among its tags; None if it has none, but maps or nothing.

        Args:
            image: any.

        Raises:
            ValueError: if a file is broken.
        """
        files = self.files.get(image.name)
        if files is None or files.labels is None:
            return None
        labels = self._labels(files, image.class_ids.tolist())
        if files.confidence is not None:
            sure = _resized(read_grey(files.confidence)[None], size_of(labels))[0]
            labels = torch.where(sure < SURE, IGNORE, labels)
        return Seeds(image.name, resize_labels(labels, image.image_size))

    def look(self, name: str, tagged: Sequence[int]) -> Finding:
        """Read the files of one image, and say what is wrong with them.

        Args:
            name: one that has maps.
            tagged: the class ids of its tags.
        """
        files = self.files[name]
        digest = " ".join(file_digest(path) for path in files.every)
        try:
            if files.labels is not None:
                labels = set(torch.unique(read_mask(files.labels, len(self.class_names))).tolist())
                if files.confidence is not None:
                    read_grey(files.confidence)
                return Finding(digest, gated=len(labels - self._allowed(tagged)))
            maps = self._maps(files)
        except ValueError as error:
            return Finding(digest, str(error))
        names, tags = maps.keys() - {BACKGROUND_MAP}, {self.class_names[class_id] for class_id in tagged}
        highest = max((float(maps[name].max()) for name in names & tags), default=1.0)
        faint = highest < FAINT and BACKGROUND_MAP not in maps
        return Finding(digest, gated=len(names - tags), absent=len(tags - names), faint=faint)

    def _maps(self, files: MapFiles) -> dict[str, Tensor]:
        """Class, or `BACKGROUND_MAP` -> (h, w) float32 in [0, 1]."""
        if files.arrays is not None:
            arrays = map_arrays(files.arrays)
            self._check_classes(files.arrays, arrays)
            return {name: checked_scores(f"{files.arrays}: {name}", array) for name, array in arrays.items()}
        for name, path in files.pictures.items():
            self._check_classes(path, [name])
        return {name: map_picture(path) for name, path in files.pictures.items()}

    def _allowed(self, tagged: Sequence[int]) -> set[int]:
        labels = labels_from_class_ids(torch.tensor(tagged, dtype=torch.int64))
        return {BACKGROUND, IGNORE, *labels.tolist()}

    def _labels(self, files: MapFiles, tagged: Sequence[int]) -> Tensor:
        """(H, W) int64; labels of classes that the image has no tag of are unsure."""
        assert files.labels is not None
        labels = read_mask(files.labels, len(self.class_names))
        allowed = torch.tensor(sorted(self._allowed(tagged)))
        return torch.where(torch.isin(labels, allowed), labels, IGNORE)

    def _shares(self, files: MapFiles, tagged: Sequence[int]) -> Tensor:
        """(1 + K, H, W) float32: what seeds say of the background and of the tagged classes.

        A label has its confidence (without a file of it, 1), the others share what is left; unsure pixels know nothing.
        """
        labels = self._labels(files, tagged)
        channels = torch.tensor([BACKGROUND, *labels_from_class_ids(torch.tensor(tagged)).tolist()])
        chosen = labels == channels[:, None, None]
        sure = torch.ones(labels.shape)
        if files.confidence is not None:
            sure = _resized(read_grey(files.confidence)[None], size_of(labels))[0]
        even = 1 / len(channels)
        sure = torch.where(labels == IGNORE, even, sure.clamp(min=even))
        return torch.where(chosen, sure, (1 - sure) / (len(channels) - 1))

    def _check_classes(self, path: Path, names: Mapping[str, Any] | Sequence[str]) -> None:
        unknown = [name for name in names if name not in (*self.class_names, BACKGROUND_MAP)]
        if unknown:
            near = difflib.get_close_matches(unknown[0], self.class_names, n=1)
            hint = f" Is it {near[0]!r}?" if near else ""
            own = " A run's own maps are these; give its 05_walk, which holds masks/." if "class_ids" in unknown else ""
            raise ValueError(
                f"{path}: expected classes of the run ({some(self.class_names)}) or {BACKGROUND_MAP}, found "
                f"{some(map(repr, unknown))}.{hint}{own} Name every map as its class is called in the tags."
            )


def open_maps(folder: str | Path, data: TagDataset, *, strict: bool = False) -> OutsideMaps:
    """Find the maps of a data set's training images, read every one of them once, and tell what does not fit.

    Args:
        folder: with ``NAME.npz``, ``NAME/CLASS.png`` or ``masks/NAME.png``; NAME is the image's.
        data: images and tags.
        strict: an image that has a tag and no map is an error.

    Raises:
        ValueError: if the folder is missing or no file fits an image, a file is broken or holds Python objects, a class
            is none of the run's, scores are not within 0..1, or an image has none if strict.
    """
    folder = Path(folder)
    listing = list_maps(folder, (*data.names, *data.val_names))
    tagged = {name: ids for name in data.names if (ids := data.tags(name).nonzero().flatten().tolist())}
    pickled = [path for name, path in listing.pickled.items() if name in tagged and name not in listing.files]
    if pickled:
        raise ValueError(
            f"{pickled[0]}: expected maps as npz or PNG, found a file of pickled objects ({len(pickled)} in all), "
            "which can run any program and is never opened. Convert such files where they were made: docs/maps.md has "
            "the converters of PSA and SEAM, of IRN, and of CLIP-ES."
        )
    files = {name: listing.files[name] for name in tagged if name in listing.files}
    if not files:
        stray = f" {len(listing.stray)} files fit no image: {some(listing.stray)}." if listing.stray else ""
        raise ValueError(f"{folder}: expected maps of images such as {some(list(tagged)[:2])}, found none.{stray} "
                         f"It should hold {LAYOUT}.")  # fmt: skip
    maps = OutsideMaps(folder, tuple(data.class_names), files, "")
    found = dict(zip(files, map_images(lambda name: maps.look(name, tagged[name]), list(files), "maps"), strict=True))
    if errors := [finding.error for finding in found.values() if finding.error]:
        more = f" ({len(errors) - 1} more images have something wrong, too.)" if len(errors) > 1 else ""
        raise ValueError(f"{errors[0]}{more}")
    _tell(maps, listing, found, maps.missing(data), strict=strict)
    return OutsideMaps(folder, maps.class_names, files, _digest(files, found))


def _digest(files: Mapping[str, MapFiles], found: Mapping[str, Finding]) -> str:
    """Of which image has which files, and of their content; not of where they lie."""
    parts = [[name, those.kinds, sorted(those.pictures), found[name].digest] for name, those in sorted(files.items())]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _tell(
    maps: OutsideMaps, listing: MapListing, found: Mapping[str, Finding], missing: Sequence[str], *, strict: bool
) -> None:
    """Log what is there and what does not fit; raise for what is missing if strict."""
    folder = maps.folder
    if listing.stray:
        logger.warning("%s: %d files fit no image: %s", folder, len(listing.stray), some(listing.stray))
    for words, numbers in (
        ("show %d classes that the image has no tag of, which are left out", {n: f.gated for n, f in found.items()}),
        ("lack %d classes that the image has a tag of, which count as 0", {n: f.absent for n, f in found.items()}),
    ):
        those = [name for name, count in numbers.items() if count]
        if those:
            what = words % sum(numbers.values())
            logger.warning("%s: maps of %d images %s: %s", folder, len(those), what, some(those))
    if faint := [name for name, finding in found.items() if finding.faint]:
        words = "so that no object in them is sure; if they hold one, divide each map by its maximum"
        logger.warning("%s: maps of %d images nowhere reach %g, %s: %s", folder, len(faint), FAINT, words, some(faint))
    if missing and strict:
        raise ValueError(
            f"{folder}: expected maps of every image with a tag, {len(missing)} have none: {some(missing)}. Add them, "
            "or run without --strict: the run then makes their maps itself."
        )
    if missing:
        logger.warning("%s: %d images have no map; the run makes them: %s", folder, len(missing), some(missing))
    logger.info("%s: maps of %d images", folder, len(found))


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """(K, h, w) -> (K, height, width), averaged where it is smaller."""
    if size_of(maps) == size:
        return maps
    return F.interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=True)[0].clamp(0, 1)


def _shrunk(maps: Tensor, largest: tuple[int, int]) -> Tensor:
    height, width = size_of(maps)
    return _resized(maps, (min(height, largest[0]), min(width, largest[1])))
