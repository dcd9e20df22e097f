"""Does a depthwise network train as fast as its operations allow? One step against the sum of its layers, each alone.

    python benchmarks/depthwise.py [--backbone tf_efficientnet_lite0] [--batch 16] [--side 224]

Every layer's forward and backward pass is timed alone, on the input that it gets in the network, in the precision that
is faster for it; the step is that of the classifier of the quick preset: forward, loss, backward, optimiser.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated
from unittest.mock import patch

import torch
import typer
from torch import Tensor, nn

from tag2mask.nets.backbones import Backbone, to_channels_last
from tag2mask.nets.classifier import CamClassifier
from timing import best_times

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 15
REPETITIONS = 5


def classifier(name: str, *, plain: bool = False) -> nn.Module:
    """The classifier, ready to learn; plain: its depthwise layers, too, compute as autocast says."""
    left_alone = patch("tag2mask.nets.backbones.learn_depthwise_in_float32") if plain else nullcontext()
    torch.manual_seed(1)
    with left_alone:
        net = CamClassifier(Backbone(name, 32, pooled=True), CLASSES, 0.0)
    to_channels_last(net)
    return net.train()


def inputs_of(net: nn.Module, pixels: Tensor) -> list[tuple[nn.Module, Tensor]]:
    """Every layer without parts, and what it gets."""
    found: list[tuple[nn.Module, Tensor]] = []
    # timm's batch norms hold their activation.
    parts = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d) or not list(part.children())]
    leaves = [part for part in parts if list(part.parameters())]
    hooks = [part.register_forward_pre_hook(lambda it, given: found.append((it, given[0].detach()))) for part in leaves]
    with torch.autocast("cpu", torch.bfloat16):
        net(pixels)
    for hook in hooks:
        hook.remove()
    return found


def alone(layer: nn.Module, given: Tensor) -> dict[str, float]:
    """Milliseconds of a layer's forward and backward pass, by precision."""

    def call(precise: bool) -> Callable[[], object]:
        own = given.float() if precise else given.bfloat16()
        own = own.contiguous(memory_format=torch.channels_last) if own.ndim == 4 else own
        own.requires_grad_(True)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=not precise):
                made = layer(own)
            torch.autograd.backward(made, torch.ones_like(made))

        return step

    return best_times({"float32": call(True), "bfloat16": call(False)}, REPETITIONS)


def step_of(net: nn.Module, pixels: Tensor, tags: Tensor) -> Callable[[], None]:
    """One step of a training."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.binary_cross_entropy_with_logits(net(pixels), tags)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main(
    backbone: Annotated[str, typer.Option(help="Any with depthwise layers.")] = "tf_efficientnet_lite0",
    batch: int = 16,
    side: int = 224,
) -> None:
    net = classifier(backbone)
    pixels = torch.randn(batch, 3, side, side).contiguous(memory_format=torch.channels_last)
    tags = (torch.rand(batch, CLASSES) < 0.2).float()
    ours = best_times({"": step_of(net, pixels, tags)}, REPETITIONS)[""]
    plain = best_times({"": step_of(classifier(backbone, plain=True), pixels, tags)}, REPETITIONS)[""]
    sums: dict[str, float] = {}
    for layer, given in inputs_of(net, pixels):
        depthwise = isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels
        kind = "depthwise" if depthwise else type(layer).__name__
        sums[kind] = sums.get(kind, 0.0) + min(alone(layer, given).values())
    print(f"{backbone}, {batch} images of {side} pixels, {torch.get_num_threads()} threads, ms")
    for kind, milliseconds in sums.items():
        print(f"  {kind:<24}{milliseconds:8.0f}")
    whole = sum(sums.values())
    print(f"  {'all layers, each alone':<24}{whole:8.0f}")
    print(f"  {'a step in bfloat16':<24}{plain:8.0f}  {100 * whole / plain:4.0f} % of the rate")
    print(f"  {'a step of ours':<24}{ours:8.0f}  {100 * whole / ours:4.0f} % of the rate")


if __name__ == "__main__":
    typer.run(main)
