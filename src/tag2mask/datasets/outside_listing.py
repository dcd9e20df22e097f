"""What lies in a folder of maps that another method made: which files are of which image."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tag2mask.datasets.walking import files_below

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

LABELS, CONFIDENCE = "masks", "confidence"
"""The folders of seeds, and of how sure they are."""

PICKLED = frozenset({".npy", ".pt", ".pth", ".pkl", ".pickle"})
"""Suffixes of files that hold Python objects, as the research codes write them; never opened."""

_OTHER_PICTURES = frozenset({".jpg", ".jpeg", ".tif", ".tiff"})
_SUFFIXES = PICKLED | _OTHER_PICTURES | {".npz", ".png"}

LAYOUT = "NAME.npz, NAME/CLASS.png, or masks/NAME.png with NAME the image's path below images/ without suffix"


@dataclass(frozen=True)
class MapFiles:
    """The files of one image, of one kind.

    Args:
        arrays: an npz with an array per class.
        pictures: a grey PNG per class, by the class's name.
        labels: an index PNG of seeds.
        confidence: a grey PNG beside it.
    """

    arrays: Path | None = None
    pictures: Mapping[str, Path] = field(default_factory=dict)
    labels: Path | None = None
    confidence: Path | None = None

    @property
    def every(self) -> tuple[Path, ...]:
        """All of them."""
        alone = (self.arrays, self.labels, self.confidence)
        return (*(path for path in alone if path is not None), *self.pictures.values())

    @property
    def kinds(self) -> tuple[str, ...]:
        """In words, of which kinds there are any."""
        found = {"an npz": self.arrays, "a PNG for each class": self.pictures, "a PNG of seeds": self.labels}
        return tuple(words for words, there in found.items() if there)


@dataclass(frozen=True)
class MapListing:
    """The files of a folder, by image.

    Args:
        files: name -> its files.
        pickled: name -> a file that is never opened.
        stray: paths below the folder that fit no image.
    """

    files: Mapping[str, MapFiles]
    pickled: Mapping[str, Path]
    stray: Sequence[str]


def list_maps(folder: Path, names: Iterable[str]) -> MapListing:
    """Find the image of every file below a folder.

    Args:
        folder: of maps.
        names: of all images, held-out ones among them.

    Raises:
        ValueError: if there is no such folder, or an image has files of two kinds.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ValueError(f"{folder}: expected a folder of maps, found {found}. It should hold {LAYOUT}.")
    known = {_key(name): name for name in names}
    made: dict[str, dict[str, Path]] = {}
    pictures: dict[str, dict[str, Path]] = {}
    pickled, stray = {}, []
    for path in files_below(folder, _SUFFIXES):
        place = PurePosixPath(path.relative_to(folder).as_posix())
        call, suffix = os.path.splitext(_key(str(place)))
        kind, of = _kind_and_image(call, suffix.lower(), known)
        if not of:
            stray.append(str(place))
        elif kind == "pickled":
            pickled[known[of]] = path
        elif kind == "pictures":
            pictures.setdefault(known[of], {})[call[len(of) + 1 :]] = path
        else:
            made.setdefault(known[of], {})[kind] = path
    files = {name: MapFiles(**made.get(name, {}), pictures=pictures.get(name, {})) for name in [*made, *pictures]}
    alone = [name for name, those in files.items() if not those.kinds]  # A confidence without seeds.
    stray += [f"{CONFIDENCE}/{name}.png" for name in alone]
    files = {name: those for name, those in files.items() if those.kinds}
    for name, those in files.items():
        if len(those.kinds) > 1:
            raise ValueError(f"{folder}: expected maps of one kind for {name}, found {' and '.join(those.kinds)}. "
                             "Remove one.")  # fmt: skip
    return MapListing(files, pickled, stray)


def _kind_and_image(call: str, suffix: str, known: Collection[str]) -> tuple[str, str]:
    """What a file is, and the image of it; an empty image if it fits none."""
    if suffix in PICKLED:
        return "pickled", call if call in known else ""
    if suffix == ".npz":
        return "arrays", call if call in known else ""
    if suffix != ".png":
        return "", ""
    top, _, rest = call.partition("/")
    if top in (LABELS, CONFIDENCE) and rest in known:
        return "labels" if top == LABELS else "confidence", rest
    # A class's name may hold a slash, too: the longest image counts.
    parts = call.split("/")
    folders = ("/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))
    return "pictures", next((one for one in folders if one in known), "")


def _key(call: str) -> str:
    # macOS stores accents in two pieces where others write one.
    return unicodedata.normalize("NFC", call)
