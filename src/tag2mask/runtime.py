"""Where networks run: device, precision and seed (Lightning Fabric)."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from lightning_fabric import Fabric

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn


Precision = Literal["auto", "32", "bf16"]


def cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 numbers itself, which makes convolutions two to three times as fast."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="ignore") as info:
            flags = next((line for line in info if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _kind_of(device: str) -> str:
    """The kind of device that a word stands for."""
    if device != "auto":
        _check_there(device)
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_there(device: str) -> None:
    """Require that this machine has the device, as far as torch can tell."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise ValueError(
            f"device: expected one that this machine has, got {device}, and torch {torch.__version__} finds none. Take "
            "--device auto or cpu, or install a torch that goes with the machine and its driver."
        )


def _fabric(device: str, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
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

    Raises:
        ValueError: for a device that this machine does not have.
    """

    def __init__(
        self, device: str = "auto", precision: Precision = "auto", seed: int = 0, workers: int | None = None
    ) -> None:
        kind = _kind_of(device)
        if precision == "auto":
            fast = (
                cpu_has_bfloat16()
                if kind == "cpu"
                else kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            )
            precision = "bf16" if fast else "32"
        self.precision: Literal["32", "bf16"] = precision
        self.fabric = _fabric(kind, "bf16-mixed" if precision == "bf16" else "32-true")
        self.seed = seed
        self.workers = workers if workers is not None else (0 if kind == "cpu" else 4)

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

    @contextmanager
    def inference(self, model: nn.Module) -> Iterator[nn.Module]:
        """The model on the device, in evaluation mode, with autocast and without gradients; put back afterwards.

        Several threads may be inside with a model that is in evaluation mode already, as the copies of
        `tag2mask.nets.looking` are.
        """
        training = [part for part in model.to(self.device).modules() if part.training]
        for part in training:
            part.training = False
        try:
            # Not torch's inference mode, in which autocast would cast the weights anew for every layer that is called.
            with torch.no_grad(), self.fabric.autocast():
                yield model
        finally:
            for part in training:
                part.training = True

    @contextmanager
    def seeded(self, *words: object) -> Iterator[None]:
        """Draw from a generator of its own inside the block; the global one is put back afterwards."""
        # On a CPU only its own generator: to ask after those of GPUs takes longer than to draw a view's numbers.
        on_cpu = self.device.type == "cpu"
        with torch.random.fork_rng([] if on_cpu else None):
            (torch.default_generator if on_cpu else torch).manual_seed(self.derived_seed(*words))
            yield
