"""Where images and tags come from, as ``run.json`` notes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TagReading:
    """How a table of tags is read, where its own words do not say it.

    Args:
        image_column: the column that names the image; None: one of the usual names.
        tag_column: the column of tags; None: one of the usual names, or one column per class.
        background_tags: tags that mean "none of the classes", as "No Finding"; letters' case does not matter.
        none_means_no_tag: whether words for a missing value, as "nan", mean "none of the classes", too.
    """

    image_column: str | None = None
    tag_column: str | None = None
    background_tags: tuple[str, ...] = ()
    none_means_no_tag: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """Where images and tags lie, and how they are opened; ``run.json`` notes it.

    Args:
        kind: ``folder``, ``voc`` or ``coco``.
        path: of the folder, absolute.
        val_fraction: of a plain folder, the share to hold out.
        seed: of a plain folder, chooses what is held out.
        split: of VOC or COCO, the training images.
        val_split: of VOC or COCO, the held-out images; None for none.
        tags_file: of VOC, the authors' file of tags.
        reading: of a plain folder, how its table of tags is read.
        channels: numbers of the channels that become red, green and blue, or of the one that becomes grey; none: the
            images' own colours.
    """

    kind: str
    path: str
    val_fraction: float = 0.0
    seed: int = 0
    split: str | None = None
    val_split: str | None = None
    tags_file: str | None = None
    reading: TagReading = TagReading()
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.channels and (len(self.channels) not in (1, 3) or min(self.channels) < 1):
            raise ValueError(
                f"channels: expected one or three numbers from 1 on, got {', '.join(map(str, self.channels))}. "
                "Write, for example, 3,2,1."
            )


def read_channels(text: str) -> tuple[int, ...]:
    """Numbers of channels as a person writes them.

    Args:
        text: numbers with commas or spaces between; empty for none.

    Raises:
        ValueError: if it holds anything else.

    Example:
        >>> read_channels("3,2,1"), read_channels("")
        ((3, 2, 1), ())
    """
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"channels: expected one or three numbers from 1 on, got {text!r}. Write, for example, 3,2,1.")
    return tuple(map(int, words))
