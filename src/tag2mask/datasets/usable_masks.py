"""A data set without the true masks that cannot be used: one bad mask shall not keep a run from its report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tag2mask.datasets.dataset import Delegating

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from tag2mask.datasets.dataset import TagDataset

logger = logging.getLogger(__name__)


class UsableMasks(Delegating):
    """A data set whose masks that cannot be used are as if they were not there; made by `usable_masks`.

    Args:
        whole: with all masks.

    Attributes:
        bad: what is the matter with each mask that was found to be bad so far, by the image's name.
    """

    def __init__(self, whole: TagDataset) -> None:
        super().__init__(whole)
        self.bad: dict[str, str] = {}
        self._told: set[str] = set()

    def mask(self, name: str) -> Tensor | None:
        """As that of the whole; None where that raises a ValueError."""
        if name in self.bad:
            return None
        try:
            return self.whole.mask(name)
        except ValueError as error:
            self.bad[name] = str(error)
            return None

    def note(self, bad: Mapping[str, str]) -> None:
        """Know of bad masks that were found and told of before.

        Args:
            bad: what is the matter with each, by the image's name.
        """
        self.bad.update(bad)

    def know_told(self) -> None:
        """Somebody has told of the bad masks that are known: `tell` says no more of them."""
        self._told.update(self.bad)

    def first_bad(self) -> str:
        """What is the matter with the first of the bad masks, and how many more there are."""
        more = f" (and {len(self.bad) - 1} more)" if len(self.bad) > 1 else ""
        return f"{self.bad[min(self.bad)]}{more}" if self.bad else ""

    def tell(self) -> None:
        """Log a line about the masks that are left out, if any were found since the last time."""
        if self.bad.keys() - self._told:
            self._told.update(self.bad)
            logger.warning("%d true mask(s) left out of the scores: %s", len(self.bad), self.first_bad())


def usable_masks(data: TagDataset) -> UsableMasks:
    """The data set less the masks that cannot be used: of another size, with unknown labels, broken.

    Args:
        data: left as it is.

    Returns:
        The same if it is such a one already. A mask is looked at when it is asked for.
    """
    return data if isinstance(data, UsableMasks) else UsableMasks(data)
