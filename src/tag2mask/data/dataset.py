"""TagDataset: what every source of images and tags offers."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from tag2mask.records import TaggedImage


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
