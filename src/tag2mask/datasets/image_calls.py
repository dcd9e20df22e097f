"""ImageCalls: what people call an image in a table or a list."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tag2mask.checks import few

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class ImageCalls:
    """Finds the image that a text means.

    Args:
        root: the folder of the data set.
        top: where its images are, the root or a folder below it.
        paths: name -> file of every image.
    """

    root: Path
    top: Path
    paths: Mapping[str, Path]

    def fitting(self, call: str) -> tuple[str, ...]:
        """The names of the images that a text may mean: none, one, or several that it does not tell apart.

        A text may be the name, the path below ``images/`` or below the root, the bare file name, each with or without
        suffix; an absolute path that lies below the root; or any of them in letters of another case.
        """
        key = call_key(call)
        below = self._below_root(key)
        keys = [key] if below is None else [key, below]
        for calls in self._calls:
            for one in keys:
                if one in calls:
                    return tuple(sorted(calls[one]))
        for calls in self._folded:
            for one in keys:
                if one.casefold() in calls:
                    return tuple(sorted(calls[one.casefold()]))
        return ()

    def exactly(self, call: str) -> bool:
        """Whether an image is called so, to the letter."""
        return any(call_key(call) in calls for calls in self._calls)

    def common_folders(self, calls: Sequence[str]) -> str:
        """The folders that stand before all texts and are not there: without them most texts mean an image.

        Args:
            calls: texts of which none means an image as it is.

        Returns:
            The folders with a slash at their end; empty if there are none, or no text fits without them.
        """
        parts = [call_key(call).split("/") for call in calls if call.strip()]
        common = 0
        while parts and all(len(one) > common + 1 and one[common] == parts[0][common] for one in parts):
            common += 1
        fitting = {cut: sum(bool(self.fitting("/".join(one[cut:]))) for one in parts) for cut in range(1, common + 1)}
        best = max(fitting, key=lambda cut: fitting[cut], default=0)
        return "/".join(parts[0][:best]) + "/" if best and fitting[best] else ""

    def why_not(self, call: str) -> str:
        """Why a text means no image: none is called so, or several are."""
        fitting = self.fitting(call)
        if not fitting:
            return "no image is called so"
        return f"{len(fitting)} images are called so: {few(fitting)}"

    def _below_root(self, key: str) -> str | None:
        """The rest of an absolute path that lies below the root."""
        for root in self._roots:
            if key.startswith(root):
                return key[len(root) :]
        return None

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        both = (self.root.absolute(), self.root.resolve())
        return tuple(dict.fromkeys(f"{call_key(root.as_posix())}/" for root in both))

    @cached_property
    def _calls(self) -> tuple[Mapping[str, set[str]], ...]:
        """What an image may be called, in three ways, the most exact first."""
        below_top, below_root, bare = (defaultdict[str, set[str]](set) for _ in range(3))
        top = "" if self.top == self.root else self.top.relative_to(self.root).as_posix() + "/"
        above = self.top.as_posix().rstrip("/")
        start = 0 if above == "." else len(above) + 1  # "./a.jpg" is the path "a.jpg".
        for name, path in self.paths.items():
            # Text is many times faster than paths, and tables have 100,000 rows.
            call = call_key(path.as_posix()[start:])
            stem = os.path.splitext(call)[0]
            below_top[call].add(name)
            below_top[stem].add(name)
            if top:
                below_root[call_key(top + call)].add(name)
                below_root[call_key(top + stem)].add(name)
            if "/" in call:
                bare[call.rpartition("/")[2]].add(name)
                bare[stem.rpartition("/")[2]].add(name)
        return below_top, below_root, bare

    @cached_property
    def _folded(self) -> tuple[Mapping[str, set[str]], ...]:
        """The same in small letters."""
        folded = []
        for calls in self._calls:
            small = defaultdict[str, set[str]](set)
            for call, names in calls.items():
                small[call.casefold()] |= names
            folded.append(small)
        return tuple(folded)


def call_key(call: str) -> str:
    """A text as a path with forward slashes, accents in one piece.

    Example:
        >>> call_key(".\\\\farm\\\\a.jpg ")
        'farm/a.jpg'
    """
    # Tables write "dir\\a.jpg" on Windows, and accents in one piece where macOS stores two.
    call = unicodedata.normalize("NFC", call.strip().replace("\\", "/"))
    return re.sub(r"(?<![:/])//+", "/", call.removeprefix("file://")).removeprefix("./")
