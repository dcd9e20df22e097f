"""Where timm's published weights are: in this machine's cache, or to be asked for; no long wait where neither."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import huggingface_hub
import timm
import torch

PATIENCE = 4.0
"""Seconds to wait for an answer before a machine is taken to be without internet.

The hub itself asks six times for each of two files, whatever its ``etag_timeout``: 47 seconds.
"""

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_OF_OPEN_CLIP = {"open_clip_pytorch_model.bin": "open_clip_model.safetensors"}


def find_pretrained(name: str) -> dict[str, Any]:
    """What timm has to be told so that it takes the weights that are here; nothing, where it can ask for them.

    Args:
        name: of a timm model.

    Returns:
        Fields for timm's ``pretrained_cfg_overlay``.

    Raises:
        ValueError: if timm has no weights of this model, or they are not in the cache and can not be reached.
    """
    config = _config(name)
    if config.file:
        return {}
    url, offline = url_of(name), False
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        for file in _hub_files(config.hf_hub_filename):
            cached = huggingface_hub.try_to_load_from_cache(repository, file, revision=revision or None)
            # Nothing else is read without a question to the hub: it is the file that timm would take.
            if isinstance(cached, str) and cached.endswith(".safetensors"):
                return {"file": cached, "custom_load": config.custom_load}
        offline = huggingface_hub.constants.HF_HUB_OFFLINE
    elif (Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name).is_file():
        return {}
    if why := "HF_HUB_OFFLINE is set" if offline else _why_unreachable(url):
        raise ValueError(could_not_be_had(name, why))
    return {}


def could_not_be_had(name: str, why: str) -> str:
    """The message for weights that are not here, and what to do.

    Args:
        name: of the timm model.
        why: in a few words.
    """
    return (
        f"backbone {name!r}: the pretrained weights could not be had ({why}). Get {url_of(name)} on a machine with "
        "internet, bring the file here, anywhere, and name it: --weights FILE (in Python: weights='FILE'). Or copy the "
        "cache folder (HF_HOME) of that machine, or train from scratch: --from-scratch (in Python: pretrained=False)."
    )


def url_of(name: str) -> str:
    """Where a timm model's weights are published.

    Args:
        name: of a model that has some.
    """
    config = _config(name)
    if not config.hf_hub_id:
        return str(config.url)
    repository, _, revision = config.hf_hub_id.partition("@")
    return str(huggingface_hub.hf_hub_url(repository, _hub_files(config.hf_hub_filename)[0], revision=revision or None))


def _config(name: str) -> Any:
    """What timm knows about a model's published weights."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ValueError(
            f"backbone {name!r}: timm has no pretrained weights of it. Train from scratch (--from-scratch; in Python: "
            "pretrained=False), start from a file of your own (--weights FILE), or take another backbone."
        )
    return config


def _hub_files(named: str | None) -> tuple[str, ...]:
    """The files that timm looks for on the hub, the safe ones first."""
    if not named:
        return _HUB_FILES
    safe = _OF_OPEN_CLIP.get(named, named.removesuffix(".bin") + ".safetensors" if named.endswith(".bin") else named)
    return (safe, named)


def _why_unreachable(url: str) -> str:
    """Why a file's server gives no answer, in a few words; empty if it gives any."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=PATIENCE).close()
    except HTTPError:
        return ""  # An answer, too: what timm then asks for, and how, is its own affair.
    except URLError as error:
        # The hub may know certificates that Python does not.
        return "" if isinstance(error.reason, ssl.SSLError) else f"no answer: {error.reason}"
    except OSError as error:
        return f"no answer: {error}"
    return ""
