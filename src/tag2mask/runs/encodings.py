"""How records are encoded in files: npz without objects, safetensors; whole or not at all, never pickles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file

from tag2mask.disk import read_arrays, whole_file
from tag2mask.records import Cams, Regions, SeedScores, SoftMask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor


def write_cams(path: Path, cams: Cams) -> None:
    """Write maps as a compressed npz; float16 is exact enough, as every map reaches 1."""
    outside: dict[str, Any] = {"outside": np.array(True)} if cams.outside else {}
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            class_ids=cams.class_ids.numpy().astype(np.int32),
            scores=cams.scores.numpy().astype(np.float16),
            image_size=np.array(cams.image_size, dtype=np.int32),
            **outside,
        )


def read_cams(path: Path, name: str) -> Cams:
    """Read what `write_cams` wrote."""
    with read_arrays(path) as arrays:
        height, width = (int(size) for size in arrays["image_size"])
        return Cams(
            name,
            torch.from_numpy(arrays["class_ids"].astype(np.int64)),
            torch.from_numpy(arrays["scores"].astype(np.float32)).clamp(0, 1),
            (height, width),
            "outside" in arrays,
        )


def write_scores(path: Path, scores: SeedScores) -> None:
    """Write CRF-refined maps as a compressed npz, in steps of 1/255."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            class_ids=scores.class_ids.numpy().astype(np.int32),
            low=(scores.low[1:] * 255).round().to(torch.uint8).numpy(),
            high=(scores.high[1:] * 255).round().to(torch.uint8).numpy(),
        )


def read_scores(path: Path, name: str) -> SeedScores:
    """Read what `write_scores` wrote; the background is what the classes leave of 1."""
    with read_arrays(path) as arrays:
        low, high = (torch.from_numpy(arrays[key]).float() / 255 for key in ("low", "high"))
        class_ids = torch.from_numpy(arrays["class_ids"].astype(np.int64))
    whole = [torch.cat([(1 - maps.sum(dim=0, keepdim=True)).clamp(0, 1), maps]) for maps in (low, high)]
    return SeedScores(name, class_ids, *whole)


def write_soft_mask(path: Path, mask: SoftMask) -> None:
    """Write probabilities as a compressed npz, in steps of 1/255."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            class_ids=mask.class_ids.numpy().astype(np.int32),
            classes=(mask.probabilities[1:] * 255).round().to(torch.uint8).numpy(),
            image_size=np.array(mask.image_size, dtype=np.int32),
        )


def read_soft_mask(path: Path, name: str) -> SoftMask:
    """Read what `write_soft_mask` wrote; the background is what the classes leave of 1."""
    with read_arrays(path) as arrays:
        classes = torch.from_numpy(arrays["classes"]).float() / 255
        class_ids = torch.from_numpy(arrays["class_ids"].astype(np.int64))
        height, width = (int(size) for size in arrays["image_size"])
    classes = classes / classes.sum(dim=0, keepdim=True).clamp(min=1)
    background = (1 - classes.sum(dim=0, keepdim=True)).clamp(0, 1)
    return SoftMask(name, class_ids, torch.cat([background, classes]), (height, width))


def write_regions(path: Path, regions: Regions) -> None:
    """Write superpixels as a compressed npz; a PNG holds no more than 16 bits, and a large image can have more regions.

    Args:
        path: ends with ``.npz``.
        regions: any number of them.
    """
    narrow = np.uint16 if regions.count <= 2**16 else np.int32
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, ids=regions.ids.cpu().numpy().astype(narrow))


def read_regions(path: Path) -> Regions:
    """Read what `write_regions` wrote."""
    with read_arrays(path) as arrays:
        ids = torch.from_numpy(arrays["ids"].astype(np.int64))
    return Regions(ids, int(ids.max()) + 1)


def write_region_scores(path: Path, scores: Tensor) -> None:
    """Write (R, 1 + C) float32 in [0, 1] as a compressed float16 npz."""
    with whole_file(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, scores=scores.numpy().astype(np.float16))


def read_region_scores(path: Path) -> Tensor:
    """Read what `write_region_scores` wrote: (R, 1 + C) float32."""
    with read_arrays(path) as arrays:
        return torch.from_numpy(arrays["scores"].astype(np.float32))


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, with text beside them."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as temporary:
        save_file(whole, str(temporary), metadata=dict(metadata or {}))
