"""TagDataset: what every source of images and tags offers."""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from tag2mask.records import TaggedImage


Kind = TypeVar("Kind")


class TagDataset(Protocol):
    """Images with image-level tags, looked up by name.

    Attributes:
        class_names: C names; the position is the class id.
        names: the images to make masks for and to train on, each once.
        val_names: held-out images for scoring the segmenter; often empty. They may have no tags.
    """

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def val_names(self) -> tuple[str, ...]: ...

    def __getitem__(self, name: str) -> TaggedImage:
        """Decode one image.

        Raises:
            KeyError: if no image has this name.
            ValueError: if the file is broken; the message names the file and what to do.
        """
        ...

    def shrunk(self, name: str, side: int) -> TaggedImage:
        """Decode a copy of one image whose longer side is at most `side` pixels (0: of any length).

        It has the `size` of the image. Of a large photograph that takes a fraction of the time and of the memory.

        Raises:
            KeyError: if no image has this name.
            ValueError: if the file is broken; the message names the file and what to do.
        """
        ...

    def tags(self, name: str) -> Tensor:
        """(C,) bool, without decoding the image. All False for a held-out image without tags."""
        ...

    def mask(self, name: str) -> Tensor | None:
        """Ground truth for scoring only: (H, W) int64 labels 0, 1..C, IGNORE; None if there is none."""
        ...

    def has_masks(self) -> bool:
        """Whether any image has a ground-truth mask, without decoding one."""
        ...

    def digest(self) -> str:
        """Hex digest of everything a run depends on: class names, names, splits, tags, image bytes."""
        ...


class Delegating:
    """A dataset that answers as another one does; what shall differ is written anew in a subclass.

    Args:
        whole: the other one.
    """

    def __init__(self, whole: TagDataset) -> None:
        self.whole = whole

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.whole.class_names

    @property
    def names(self) -> tuple[str, ...]:
        return self.whole.names

    @property
    def val_names(self) -> tuple[str, ...]:
        return self.whole.val_names

    def __getitem__(self, name: str) -> TaggedImage:
        return self.whole[self._known(name)]

    def shrunk(self, name: str, side: int) -> TaggedImage:
        return self.whole.shrunk(self._known(name), side)

    def tags(self, name: str) -> Tensor:
        return self.whole.tags(self._known(name))

    def mask(self, name: str) -> Tensor | None:
        return self.whole.mask(self._known(name))

    def has_masks(self) -> bool:
        return self.whole.has_masks()

    def digest(self) -> str:
        return self.whole.digest()

    def _known(self, name: str) -> str:
        """The same name; where the dataset has fewer images than the whole, KeyError for the others."""
        return name


def behind(dataset: TagDataset, kind: type[Kind]) -> Kind | None:
    """The data set of a kind that others delegate to; None if there is none.

    Args:
        dataset: any data set; it may be of the kind itself.
        kind: a class of data sets.
    """
    while isinstance(dataset, Delegating) and not isinstance(dataset, kind):
        dataset = dataset.whole
    return dataset if isinstance(dataset, kind) else None


class Reduced(Delegating):
    """A dataset less some images; made by `without`.

    Args:
        whole: all of it.
        names: the training images that are kept.
        val_names: the held-out images that are kept.
    """

    def __init__(self, whole: TagDataset, names: tuple[str, ...], val_names: tuple[str, ...]) -> None:
        super().__init__(whole)
        self._names, self._val_names = names, val_names
        self._every = frozenset(names + val_names)

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    @property
    def val_names(self) -> tuple[str, ...]:
        return self._val_names

    def digest(self) -> str:
        parts = json.dumps([super().digest(), self.names, self.val_names])
        return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()

    def _known(self, name: str) -> str:
        if name not in self._every:
            raise KeyError(f"no image is named {name!r} in this dataset")
        return name


def without(dataset: TagDataset, names: Iterable[str]) -> TagDataset:
    """The dataset less some images; names that it does not have change nothing.

    Args:
        dataset: left as it is.
        names: training or held-out images.

    Returns:
        The same dataset if nothing goes. The classes stay, even one that loses its last image.

    Raises:
        ValueError: if no training image would be left.
    """
    gone = frozenset(names) & {*dataset.names, *dataset.val_names}
    if not gone:
        return dataset
    kept = tuple(name for name in dataset.names if name not in gone)
    if not kept:
        raise ValueError(
            f"expected at least one training image to remain, found none: all {len(dataset.names)} "
            f"are taken out ({', '.join(sorted(gone)[:5])}). Add images that can be read."
        )
    return Reduced(dataset, kept, tuple(name for name in dataset.val_names if name not in gone))


def unreadable(
    dataset: TagDataset, names: Iterable[str], on_progress: Callable[[int, int], None] | None = None
) -> dict[str, str]:
    """Decode every image once, before hours of training stop at a broken one.

    Args:
        dataset: where the images are.
        names: which of them.
        on_progress: called after each image with the count so far and the count in all.

    Returns:
        name -> what is the matter with it, for the images that cannot be decoded.
    """
    every = tuple(names)
    messages = {}
    for done, name in enumerate(every, start=1):
        try:
            dataset[name]
        except ValueError as error:
            messages[name] = str(error)
        if on_progress is not None:
            on_progress(done, len(every))
    return messages


def typical_side(data: TagDataset) -> int:
    """The image side for `quick`: the median long side of up to 20 images, within 64 and 320; 320 if none can be read.

    Args:
        data: images.
    """
    sides = []
    for name in data.names[:: max(1, math.ceil(len(data.names) / 20))]:
        with suppress(ValueError):  # `prepare` tells of broken images.
            sides.append(max(data[name].image_size))
    return max(64, min(320, sorted(sides)[len(sides) // 2])) if sides else 320
