"""What a run is: ``run.json``, typed and versioned, and the list of its images in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pydantic_core import to_jsonable_python

from tag2mask.disk import read_json, write_json
from tag2mask.runs.typed import OTHER_VERSION, typed
from tag2mask.sources import Source  # noqa: TC001  (likewise)

if TYPE_CHECKING:
    from pathlib import Path

Json = Mapping[str, "Json"] | list["Json"] | str | int | float | bool | None
"""What a JSON file can hold."""

SCHEMA_VERSION = 2
"""Of the manifest. Version 0.1.0 of the package wrote none; its ``run.json`` held the names of the images, too."""

MANIFEST, NAMES = "run.json", "names.json"


@dataclass(frozen=True)
class BackboneStart:
    """Which backbone all networks were asked to have, and where its first weights come from.

    Args:
        name: of the backbone; empty: the preset's.
        pretrained: start from published weights.
        weights: or from this file; empty for none.
        source: the package and its version, file or address that the weights come from; empty: from scratch, or the
            preset's own.
        digest: SHA-256 of the file; empty where it had to be asked for.
    """

    name: str = ""
    pretrained: bool = False
    weights: str = ""
    source: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Origin:
    """How a run was asked for on the command line; a run of the library has the source at most.

    Args:
        preset: name of the settings.
        source: where the images and tags are.
        backbone: of all networks.
    """

    preset: str = ""
    source: Source | None = None
    backbone: BackboneStart = field(default_factory=BackboneStart)


@dataclass(frozen=True)
class OutsideFiles:
    """Files of another method that stand for what stages would make.

    Args:
        path: of the folder or file, absolute.
        digest: of what is used of it.
    """

    path: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What a run is, besides its images' names.

    Args:
        class_names: C names; the position is the class id.
        digest: of the images and tags.
        seed: every random choice derives from it.
        precision: that networks compute in: ``32`` or ``bf16``.
        device: where it last ran.
        versions: package -> version.
        skipped: images that were left out -> why.
        origin: how it was asked for.
        start: the run that the rounds start from, if it is another one.
        settings: of AffinityNet's stages, as JSON; see `tag2mask.runs.settings.settings_from`.
        ial: of the EM rounds, likewise; empty without rounds.
        maps: in place of class activation maps; None: the run made all of its own.
        segments: in place of superpixels, likewise.
        schema_version: of the file that it was read from; 1 stands for version 0.1.0 of the package.
    """

    class_names: tuple[str, ...]
    digest: str
    seed: int = 0
    precision: Literal["32", "bf16"] = "32"
    device: str = "cpu"
    versions: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    start: str = ""
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    ial: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    maps: OutsideFiles | None = None
    segments: OutsideFiles | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def is_complete(self) -> bool:
        """Whether all settings must be in it; version 0.1.0 had fewer."""
        return self.schema_version == SCHEMA_VERSION


@dataclass(frozen=True)
class ImageNames:
    """The images of a run, less the skipped ones.

    Args:
        train: to make masks for and to train on.
        val: held out.
        digest: of the images and tags, as in the manifest.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    digest: str = ""


def read_manifest(run: Path) -> Manifest:
    """Read a run's ``run.json``, also one of version 0.1.0.

    Args:
        run: the run folder.

    Raises:
        ValueError: if there is none, or it is damaged, newer than this package, or lacks something.
    """
    file = run / MANIFEST
    if not file.is_file():
        raise ValueError(f"{run}: expected a run folder, found no {MANIFEST} in it. Start with `tag2mask run`.")
    content = read_json(file, OTHER_VERSION)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a JSON object, found {type(content).__name__}. {OTHER_VERSION}")
    version = content.get("schema_version")
    if version is None and "names" in content:
        return typed(Manifest, _of_0_1_0(content), str(file))
    if type(version) is int and version > SCHEMA_VERSION:
        raise ValueError(
            f"{file}: expected schema_version up to {SCHEMA_VERSION}, found {version}. It was made by a newer "
            "tag2mask: update this one."
        )
    if type(version) is not int or version != SCHEMA_VERSION:
        found = "nothing" if version is None else repr(version)[:60]
        raise ValueError(f"{file}: schema_version: expected {SCHEMA_VERSION}, found {found}. {OTHER_VERSION}")
    manifest = typed(Manifest, content, str(file))
    if missing := [name for name in Manifest.__dataclass_fields__ if name not in content]:
        raise ValueError(f"{file}: {missing[0]}: expected a value, found nothing. {OTHER_VERSION}")
    return manifest


def write_manifest(run: Path, manifest: Manifest, names: ImageNames | None = None) -> None:
    """Write ``run.json``, and ``names.json`` before it if names are given; each whole or not at all.

    Args:
        run: the run folder.
        manifest: what it is.
        names: its images; None: they stay as they are.
    """
    if names is None and not (run / NAMES).is_file():
        names = read_names(run)  # Version 0.1.0 kept them in the manifest.
    if names is not None:
        new = replace(names, digest=manifest.digest)
        if not (run / NAMES).is_file() or read_json(run / NAMES) != to_jsonable_python(new):
            write_json(run / NAMES, to_jsonable_python(new))
    write_json(run / MANIFEST, to_jsonable_python(replace(manifest, schema_version=SCHEMA_VERSION)))


def read_names(run: Path) -> ImageNames:
    """Read the names of a run's images.

    Args:
        run: the run folder.

    Raises:
        ValueError: if they are not there, damaged, or of other images than the manifest's.
    """
    file, manifest = run / NAMES, read_manifest(run)
    if file.is_file():
        names = typed(ImageNames, read_json(file), str(file))
        if names.digest != manifest.digest:
            raise ValueError(
                f"{file}: expected the images of {MANIFEST}, found those of other data: a run on changed images was "
                "stopped. Start it again."
            )
        return names
    content = read_json(run / MANIFEST)
    if "names" not in content:
        raise ValueError(f"{file}: expected the names of the run's images, found no file. Start the run again.")
    found = {"train": content["names"], "val": content.get("val_names", [])}
    return typed(ImageNames, found, str(run / MANIFEST))


def _of_0_1_0(content: dict[str, Json]) -> dict[str, Json]:
    """A ``run.json`` of version 0.1.0 as one of today."""
    kept = {key: value for key, value in content.items() if key in Manifest.__dataclass_fields__}
    asked = {key: content[key] for key in ("preset", "source", "backbone") if content.get(key)}
    if isinstance(source := asked.get("source"), dict):
        asked["source"] = {"kind": "folder", **source}
    return {**kept, "origin": asked, "schema_version": 1}
