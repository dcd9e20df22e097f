"""The options of the commands (typer): single ones, and groups of those that belong together."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import wraps
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from tag2mask.sources import TagReading

if TYPE_CHECKING:
    from collections.abc import Callable


class Preset(StrEnum):
    """The settings' classmethods."""

    QUICK = "quick"
    DEFAULT = "default"
    PAPER = "paper"


class Method(StrEnum):
    """What makes masks from tags."""

    AFFINITYNET = "affinitynet"
    IAL = "ial"


class Start(StrEnum):
    """What the first EM round learns from."""

    SEEDS = "seeds"
    MASKS = "masks"


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tag2mask {version('tag2mask')}")
        raise typer.Exit


class Precision(StrEnum):
    """What networks compute in."""

    AUTO = "auto"
    BF16 = "bf16"
    FULL = "32"


Version = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and exit.")
]
Folder = Annotated[Path, typer.Argument(help="Folder with images and tags; `tag2mask check` tells what is wrong.")]
Run = Annotated[Path, typer.Argument(help="A run folder.")]
Seed = Annotated[int, typer.Option(help="Every random choice derives from it.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more.")]
Strict = Annotated[
    bool, typer.Option("--strict", help="A broken image is an error; with --maps, one without a map, too.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, for example --set seed.alpha_object=4 or --set affinity.cells=62."),
]


@dataclass(frozen=True)
class Lists:
    """Which images of PASCAL VOC or COCO, and which channels of any images."""

    split: Annotated[
        str | None,
        typer.Option(
            help="Of PASCAL VOC or COCO: training images, the name or path of a list (default: trainaug, train)."
        ),
    ] = None
    val_split: Annotated[
        str | None, typer.Option(help="Of PASCAL VOC or COCO: held-out images, or none (default: val).")
    ] = None
    tags_file: Annotated[Path | None, typer.Option(help="Of PASCAL VOC: tags of the authors' cls_labels.npy.")] = None
    channels: Annotated[
        str, typer.Option(help="Of any images: which channels are red, green and blue, as 3,2,1; or the grey one.")
    ] = ""


Force = Annotated[bool, typer.Option("--force", help="Go on also where the classifier learned nothing.")]

FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="Start from random weights, also where ImageNet weights are installed.")
]


Segments = Annotated[
    Path | None, typer.Option(help="Of the EM rounds: segments of another method (COCO run lengths) as superpixels.")
]


@dataclass(frozen=True)
class Tables:
    """How a table of tags is read."""

    image_column: Annotated[
        str | None, typer.Option(help="Of a table of tags: the column of images (default: image, filename, path ...).")
    ] = None
    tag_column: Annotated[
        str | None, typer.Option(help="Of a table of tags: the column of tags (default: tags, label, class ...).")
    ] = None
    background_tag: Annotated[
        list[str] | None, typer.Option(help="A tag that means none of the classes, as 'No Finding'; repeatable.")
    ] = None
    none_means_no_tag: Annotated[
        bool, typer.Option("--none-means-no-tag", help="Cells with nan, None, N/A or null mean none of the classes.")
    ] = False

    def reading(self) -> TagReading:
        """The same as `find_source` takes it."""
        words = tuple(self.background_tag or ())
        return TagReading(self.image_column, self.tag_column, words, self.none_means_no_tag)


@dataclass(frozen=True)
class Outside:
    """What other methods made, in place of what stages would make."""

    maps: Annotated[
        Path | None, typer.Option(help="Folder of maps of another method, in place of the classifier's (docs/maps.md).")
    ] = None
    segments: Segments = None
    force: Force = False


@dataclass(frozen=True)
class Nets:
    """What all networks have, and start from."""

    backbone: Annotated[
        str, typer.Option(help="Of all nets: any timm name, resnet38 or vgg16_dilated (default: the preset's).")
    ] = ""
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Start from published weights: installed, cached, or from the internet."),
    ] = False
    weights: Annotated[Path | None, typer.Option(help="Start from this file: safetensors or a state dictionary.")] = (
        None
    )
    from_scratch: FromScratch = False


@dataclass(frozen=True)
class Computing:
    """Where and how."""

    seed: Seed = 0
    device: Device = "auto"
    precision: Annotated[Precision, typer.Option(help="What networks compute in.")] = Precision.AUTO
    set_: Set = None
    verbose: Verbose = False


@dataclass(frozen=True)
class Scenes:
    """Drawn photographs."""

    count: Annotated[int, typer.Option(help="Scenes to train on.")] = 220
    val_count: Annotated[int, typer.Option(help="Held-out scenes.")] = 60
    size: Annotated[int, typer.Option(help="Side of a scene in pixels.")] = 144


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: each of their fields is an option of its own."""
    hints = get_type_hints(command, include_extras=True)
    kinds: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    keys = {name: [part.name for part in fields(kind)] for name, kind in kinds.items()}
    flat: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in kinds:
            flat += _parameters(kinds[name])
        else:
            flat.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def call(**given: Any) -> None:
        made = {name: kind(**{key: given.pop(key) for key in keys[name]}) for name, kind in kinds.items()}
        command(**given, **made)

    described: Any = call
    described.__signature__ = inspect.Signature(flat)
    described.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return call


def _parameters(kind: Any) -> list[inspect.Parameter]:
    """The fields of a dataclass of options as parameters."""
    hints, alone = get_type_hints(kind, include_extras=True), inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(part.name, alone, default=part.default, annotation=hints[part.name]) for part in fields(kind)
    ]
