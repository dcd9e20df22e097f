"""Where networks run: device, precision and seed (Lightning Fabric)."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Literal

import torch
from lightning_fabric import Fabric
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator


Precision = Literal["auto", "32", "bf16"]


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 numbers itself, which makes convolutions two to three times as fast."""
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as info:
            flags = next((line for line in info if line.startswith("flags")), "")
    except OSError:
        return False
    return bool(supported and supported()) and ("avx512_bf16" in flags or "amx_bf16" in flags)


def _fabric(device: str, precision: Literal["32-true", "bf16-mixed"] = "32-true") -> Fabric:
    """Fabric on one device, without the line that it logs about each choice of precision."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return Fabric(accelerator=device, devices=1, precision=precision)
    finally:
        logger.setLevel(level)


class Runtime:
    """Where and how networks run.

    Args:
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``mps``.
        precision: ``32``; ``bf16`` for bfloat16 autocast; ``auto``: bf16 where the hardware has it.
        seed: every random choice of a run derives from it.
        workers: processes that load images beside the training; ``None``: 4 with a GPU, none on a CPU,
            where threads do.
    """

    def __init__(
        self, device: str = "auto", precision: Precision = "auto", seed: int = 0, workers: int | None = None
    ) -> None:
        plain = _fabric(device)
        on_cpu = plain.device.type == "cpu"
        if precision == "auto":
            fast = cpu_has_bfloat16() if on_cpu else plain.device.type == "cuda" and torch.cuda.is_bf16_supported()
            precision = "bf16" if fast else "32"
        self.precision: str = precision
        self.fabric = _fabric(device, "bf16-mixed" if precision == "bf16" else "32-true")
        self.seed = seed
        self.workers = workers if workers is not None else (0 if on_cpu else 4)

    @property
    def device(self) -> torch.device:
        """Where tensors have to be for the networks."""
        return self.fabric.device

    def derived_seed(self, *words: object) -> int:
        """A seed for one purpose: the same words give the same seed, other words an independent one."""
        text = json.dumps([self.seed, *map(str, words)]).encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")

    def generator(self, *words: object) -> torch.Generator:
        """A generator of its own for one purpose, on the CPU; draws what `seeded` would."""
        return torch.Generator().manual_seed(self.derived_seed(*words))

    @property
    def dtype(self) -> torch.dtype:
        """Of convolutions and matrix products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @contextmanager
    def inference(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model on the device, in evaluation mode, with autocast and without gradients; put back afterwards.

        Several threads may be inside with the same model.
        """
        # Not torch's inference mode, in which autocast would cast the weights anew for every layer that is called.
        with _evaluated(model.to(self.device)), torch.no_grad(), self.fabric.autocast():
            yield model

    @contextmanager
    def seeded(self, *words: object) -> Iterator[None]:
        """Draw from a generator of its own inside the block; the global one is put back afterwards."""
        # On a CPU only its own generator: to ask after those of GPUs takes longer than to draw a view's numbers.
        on_cpu = self.device.type == "cpu"
        with torch.random.fork_rng([] if on_cpu else None):
            (torch.default_generator if on_cpu else torch).manual_seed(self.derived_seed(*words))
            yield


_EVALUATED: dict[nn.Module, tuple[int, dict[nn.Module, bool]]] = {}


_EVALUATED_TURNS = Lock()


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; the last thread that leaves puts the modes back that the first one found."""
    with _EVALUATED_TURNS:
        inside, modes = _EVALUATED.get(model) or (0, {part: part.training for part in model.modules()})
        _EVALUATED[model] = inside + 1, modes
        model.eval()
    try:
        yield
    finally:
        with _EVALUATED_TURNS:
            inside, modes = _EVALUATED.pop(model)
            if inside > 1:
                _EVALUATED[model] = inside - 1, modes
            else:
                for part, mode in modes.items():
                    part.training = mode
