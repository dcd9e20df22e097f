"""Working copies: images no larger than any stage needs, decoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.datasets.dataset import Delegating
from tag2mask.datasets.memory import MEMORY, Kept

if TYPE_CHECKING:
    from tag2mask.datasets.dataset import TagDataset
    from tag2mask.records import TaggedImage


class WorkingCopies(Delegating):
    """A dataset whose images are no larger than some side, and stay in memory as far as they fit.

    Each has the `size` of the image itself, and so have its masks.

    Args:
        whole: where the images are.
        side: the longest side of a copy in pixels; 0: copies are as large as the images.
        memory: bytes that copies may take.
    """

    def __init__(self, whole: TagDataset, side: int, memory: int = 2 * MEMORY) -> None:
        super().__init__(whole)
        self._side = side
        self._images: Kept[TaggedImage] = Kept(self._decode, memory)

    def __getitem__(self, name: str) -> TaggedImage:
        return self._images[name]

    def _decode(self, name: str) -> TaggedImage:
        return self.whole.shrunk(name, self._side)
