"""Every kind of artefact: where it lies, how it is encoded, how it is read, written, listed and checked.

Nothing else knows a file name, a suffix or an encoding. npz without objects, png, safetensors; whole files or none,
never pickles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import torch

from tag2mask.disk import read_labels, read_unit, write_labels, write_unit
from tag2mask.records import Cams, PseudoMask, Regions, Seeds, SeedScores, SoftMask
from tag2mask.runs.encodings import (
    read_cams,
    read_region_scores,
    read_regions,
    read_scores,
    read_soft_mask,
    write_cams,
    write_region_scores,
    write_regions,
    write_scores,
    write_soft_mask,
)
from tag2mask.runs.places import ESTIMATE, LOCALIZE, MINE, REFINE, SEED, SEGMENT, SHARPEN, SUPERPIXELS, WALK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

Record = TypeVar("Record")


class Images(Protocol):
    """Whose artefacts they are: a run's images and classes."""

    def names(self, split: str = "train") -> tuple[str, ...]: ...

    def class_names(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Kind(Generic[Record]):
    """One kind of artefact.

    Args:
        noun: what it is, for messages: "seeds".
        stage: folder of the stage that makes it, below the run's or the round's.
        parts: folders of an image's files below that one. The file of the last part is written last, and says that the
            artefact is there.
        suffix: of the files.
        read: (files, name) -> record.
        write: (files, record, number of classes).
        held_out: whether held-out images have it, too.
    """

    noun: str
    stage: str
    parts: tuple[str, ...]
    suffix: str
    read: Callable[[Sequence[Path], str], Record]
    write: Callable[[Sequence[Path], Record, int], None]
    held_out: bool = False


class MissingArtefactError(KeyError, ValueError):
    """The artefact of an image is not there; a missing key to mappings, bad input to people."""

    def __str__(self) -> str:
        return str(self.args[0])


class Artefacts(Mapping[str, Record]):
    """All artefacts of one kind, by image name, read from disk when asked for.

    Args:
        kind: of artefact.
        folder: the run's folder, or the round's.
        images: the run's names and classes; asked only by those who go through all images, or write labels.
    """

    def __init__(self, kind: Kind[Record], folder: Path, images: Images) -> None:
        self.kind, self._images = kind, images
        self.stage = folder / kind.stage

    @property
    def folder(self) -> Path:
        """Where the files are that people look at."""
        return self.stage / self.kind.parts[-1]

    def files(self, name: str) -> tuple[Path, ...]:
        """All files of an image's artefact; image names may hold slashes."""
        return tuple(self.stage / part / f"{name}{self.kind.suffix}" for part in self.kind.parts)

    def path_of(self, name: str) -> Path:
        """The file of an image that says that its artefact is there."""
        return self.files(name)[-1]

    def __getitem__(self, name: str) -> Record:
        """Read one.

        Raises:
            MissingArtefactError: if a file of it is not there.
        """
        for path in self.files(name):
            if not path.is_file():
                raise MissingArtefactError(_missing(path, self.stage, self.kind.noun))
        return self.kind.read(self.files(name), name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and all(path.is_file() for path in self.files(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def names(self) -> tuple[str, ...]:
        """The images that have this kind of artefact once the stage is finished."""
        return self._images.names() + (self._images.names("val") if self.kind.held_out else ())

    def write(self, name: str, record: Record) -> None:
        """Write one, whole or not at all.

        Args:
            name: of the image.
            record: left as it is.
        """
        self.kind.write(self.files(name), record, self._classes)

    def missing(self, names: Sequence[str]) -> list[str]:
        """The images of these that have none yet."""
        return [name for name in names if name not in self]

    def check(self, what: str = "a file of a finished stage") -> None:
        """Require that no file of a finished stage has been deleted.

        Args:
            what: is expected, for the message.

        Raises:
            ValueError: naming the first missing file, how many there are, and what to do.
        """
        gone = [path for name in self.names() for path in self.files(name) if not path.is_file()]
        if gone:
            raise ValueError(_missing(gone[0], self.stage, what, len(gone)))

    @cached_property
    def _classes(self) -> int:
        return len(self._images.class_names())


class MeanSoftMasks(Mapping[str, SoftMask]):
    """The mean of each image's soft masks over several rounds; nothing of it is kept on disk.

    Args:
        rounds: at least one, the latest last.
    """

    def __init__(self, rounds: Sequence[Artefacts[SoftMask]]) -> None:
        self._rounds = tuple(rounds)

    def __getitem__(self, name: str) -> SoftMask:
        softs = [found[name] for found in self._rounds]
        return replace(softs[-1], probabilities=torch.stack([soft.probabilities for soft in softs]).mean(dim=0))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rounds[-1])

    def __len__(self) -> int:
        return len(self._rounds[-1])


def _missing(path: Path, stage: Path, what: str, count: int = 1) -> str:
    return (
        f"{path}: expected {what}, found nothing ({count} missing). Delete {stage} and run again: the stage will be "
        "made anew."
    )


# How the files of a kind hold its record: functions of the module, so that kinds can be pickled.


def _read_cams(files: Sequence[Path], name: str) -> Cams:
    return read_cams(files[0], name)


def _write_cams(files: Sequence[Path], record: Cams, _: int) -> None:
    write_cams(files[0], record)


def _read_seed_scores(files: Sequence[Path], name: str) -> SeedScores:
    return read_scores(files[0], name)


def _write_seed_scores(files: Sequence[Path], record: SeedScores, _: int) -> None:
    write_scores(files[0], record)


def _read_soft(files: Sequence[Path], name: str) -> SoftMask:
    return read_soft_mask(files[0], name)


def _write_soft(files: Sequence[Path], record: SoftMask, _: int) -> None:
    write_soft_mask(files[0], record)


def _read_regions(files: Sequence[Path], _: str) -> Regions:
    return read_regions(files[0])


def _write_regions(files: Sequence[Path], record: Regions, _: int) -> None:
    write_regions(files[0], record)


def _read_region_scores(files: Sequence[Path], _: str) -> Tensor:
    return read_region_scores(files[0])


def _write_region_scores(files: Sequence[Path], record: Tensor, _: int) -> None:
    write_region_scores(files[0], record)


def _read_seeds(files: Sequence[Path], name: str) -> Seeds:
    return Seeds(name, read_labels(files[0]))


def _write_seeds(files: Sequence[Path], record: Seeds, classes: int) -> None:
    write_labels(files[0], record.labels, classes)


def _read_labels(files: Sequence[Path], _: str) -> Tensor:
    return read_labels(files[0])


def _write_labels(files: Sequence[Path], record: Tensor, classes: int) -> None:
    write_labels(files[0], record, classes)


def _read_unit(files: Sequence[Path], _: str) -> Tensor:
    return read_unit(files[0])


def _write_unit(files: Sequence[Path], record: Tensor, _: int) -> None:
    write_unit(files[0], record)


def _read_mask(files: Sequence[Path], name: str) -> PseudoMask:
    confidence, labels = files
    return PseudoMask(name, read_labels(labels), read_unit(confidence))


def _write_mask(files: Sequence[Path], record: PseudoMask, classes: int) -> None:
    confidence, labels = files
    write_unit(confidence, record.confidence)
    write_labels(labels, record.labels, classes)


_MASK = ("confidence", "masks")

CAMS = Kind("maps", LOCALIZE, ("maps",), ".npz", _read_cams, _write_cams)
SEED_SCORES = Kind("refined maps", SEED, ("scores",), ".npz", _read_seed_scores, _write_seed_scores)
SEEDS = Kind("seeds", SEED, ("seeds",), ".png", _read_seeds, _write_seeds)
CAM_CRF = Kind("refined labels", SEED, ("crf",), ".png", _read_labels, _write_labels)
WALKS = Kind("walked labels", WALK, ("walk",), ".png", _read_labels, _write_labels)
BOUNDARIES = Kind("boundaries", WALK, ("boundaries",), ".png", _read_unit, _write_unit)
MASKS = Kind("masks", WALK, _MASK, ".png", _read_mask, _write_mask)
PREDICTIONS = Kind("predicted masks", SEGMENT, _MASK, ".png", _read_mask, _write_mask, held_out=True)
REGIONS = Kind("superpixels", SUPERPIXELS, ("regions",), ".npz", _read_regions, _write_regions)
UNARY_SOFT = Kind("probabilities", ESTIMATE, ("soft",), ".npz", _read_soft, _write_soft)
UNARY_MASKS = Kind("unary masks", ESTIMATE, ("masks",), ".png", _read_labels, _write_labels, held_out=True)
MINED = Kind("mined labels", MINE, ("mined",), ".png", _read_seeds, _write_seeds)
REGION_SCORES = Kind("scores of regions", MINE, ("scores",), ".npz", _read_region_scores, _write_region_scores)
REFINED_SOFT = Kind("refined probabilities", REFINE, ("soft",), ".npz", _read_soft, _write_soft)
REFINED_MASKS = Kind("refined masks", REFINE, _MASK, ".png", _read_mask, _write_mask, held_out=True)
SHARPENED = Kind("sharpened masks", SHARPEN, ("masks",), ".png", _read_seeds, _write_seeds)
