"""The only training loop, and where it runs: device, precision, seed (Lightning Fabric)."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tag2mask.checks import some
from tag2mask.nets.roles import roles_of
from tag2mask.progress import progress_bar
from tag2mask.runs.stage_summary import Curves, TrainingState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from tag2mask.learning.schedule import Schedule

    LossFunction = Callable[[nn.Module, Any], Mapping[str, Tensor]]
    from tag2mask.runtime import Runtime

_NAMED = 8
"""Images of a batch that an error names; the others are counted."""


class CheckpointStore(Protocol):
    """Keeps the state of an unfinished training; `tag2mask.runs.stage_folder.StageFolder` is one."""

    @property
    def path(self) -> Path: ...

    def load_checkpoint(self) -> tuple[dict[str, Tensor], TrainingState] | None: ...

    def save_checkpoint(self, tensors: Mapping[str, Tensor], state: TrainingState) -> None: ...


@runtime_checkable
class HasForwardMethods(Protocol):
    """A network that is asked by other methods than ``forward``, which several processes have to know."""

    @property
    def forward_methods(self) -> tuple[str, ...]: ...


@dataclass
class Fitted:
    """What a training left behind.

    Args:
        history: scalar name -> (epoch, value) pairs.
        steps: optimiser steps taken in all.
    """

    history: Curves = field(default_factory=dict)
    steps: int = 0


def fit(
    model: nn.Module,
    loss_fn: LossFunction,
    batches: Callable[[int], Iterable[Any]],
    schedule: Schedule,
    runtime: Runtime,
    *,
    steps_per_epoch: int,
    title: str,
    store: CheckpointStore | None = None,
    checkpoint_seconds: float = 20.0,
) -> Fitted:
    """Train a model. Killed and called again with the same store, it ends with the same weights to the bit.

    Args:
        model: trained in place.
        loss_fn: (model, batch) -> named scalar terms; their sum is minimised.
        batches: epoch -> batches; every random choice in it must follow from the epoch alone.
        schedule: how long, how fast.
        runtime: device, precision and seed.
        steps_per_epoch: number of batches of an epoch.
        title: beside the progress bar, and part of the seed.
        store: keeps a checkpoint after an epoch, at most every `checkpoint_seconds`.

    Raises:
        ValueError: if there is no batch, or if the loss is not a finite number: it names the images of the batch; the
            last checkpoint stays. So it does if an epoch ends with weights that are not finite.
    """
    if steps_per_epoch < 1:
        raise ValueError(f"{title}: no batch to train on. Check that the set holds images.")
    runtime.fabric.to_device(model)
    optimizer = _optimizer(model, schedule)
    learner, writer = Learner(model, optimizer, runtime, schedule.clip), _writer(store)
    done, total = Fitted(), schedule.epochs * steps_per_epoch
    start = _restore(model, optimizer, done, store)
    saved_at = time.monotonic()
    with progress_bar(title, total, start * steps_per_epoch) as advance:

        def learn(step: int, batch: Any) -> dict[str, float]:
            _set_rate(optimizer, schedule, step, total)
            terms = learner.step(loss_fn, batch)
            advance(1, f"loss {sum(terms.values()):.3f}")
            return terms

        for epoch in range(start, schedule.epochs):
            model.train()
            with runtime.seeded(title, "epoch", epoch), _located(f"{title}, epoch {epoch + 1}", runtime):
                steps = enumerate(batches(epoch), epoch * steps_per_epoch)
                learned = [learn(step, batch) for step, batch in steps]
            done.steps += len(learned)
            _record(done, _mean_terms(learned, steps_per_epoch), epoch, title, writer)
            last = epoch + 1 == schedule.epochs
            if store is not None and (last or time.monotonic() - saved_at > checkpoint_seconds):
                _save(model, optimizer, done, epoch + 1, store)
                saved_at = time.monotonic()
    if writer is not None:
        writer.close()
    return done


class NotFiniteError(ValueError):
    """The loss of a batch is NaN or infinite."""


class Learner:
    """A model and its optimiser, set up by Fabric.

    Args:
        model: on the device.
        optimizer: of its parameters.
        runtime: device and precision.
        clip: largest norm of the gradient; 0 means no limit.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, runtime: Runtime, clip: float) -> None:
        self._fabric, self._clip = runtime.fabric, clip
        self._model, self._optimizer = self._fabric.setup(model, optimizer, move_to_device=False)
        if isinstance(model, HasForwardMethods):
            for name in model.forward_methods:
                self._model.mark_forward_method(name)

    def step(self, loss_fn: LossFunction, batch: Any) -> dict[str, float]:
        """Learn from one batch; the terms of its loss.

        Raises:
            NotFiniteError: if it is not a finite number; nothing is learned from the batch.
        """
        with self._fabric.autocast():
            terms = loss_fn(self._model, batch)
            loss = torch.stack([term.float() for term in terms.values()]).sum()
        values = {name: float(term.detach()) for name, term in terms.items()}
        if not math.isfinite(sum(values.values())):
            names = some(getattr(batch, "names", ()), _NAMED)
            told = ", ".join(f"{name} {value:g}" for name, value in values.items())
            raise NotFiniteError(f"expected a finite loss, got {told} on the images {names}.")
        self._optimizer.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        if self._clip > 0:
            self._fabric.clip_gradients(self._model, self._optimizer, max_norm=self._clip, error_if_nonfinite=False)
        self._optimizer.step()
        return values


def _mean_terms(learned: list[dict[str, float]], steps: int) -> dict[str, float]:
    """The mean of every term of the loss over an epoch; a term that a batch does not have counts as 0."""
    sums: dict[str, float] = defaultdict(float)
    for terms in learned:
        for name, value in terms.items():
            sums[name] += value
    return {name: value / steps for name, value in sums.items()}


@contextmanager
def _located(where: str, runtime: Runtime) -> Iterator[None]:
    """A loss that is not finite is told with its place, and with what to do."""
    try:
        yield
    except NotFiniteError as error:
        raise ValueError(f"{where}: {error} {_advice(runtime)}") from error


def _advice(runtime: Runtime) -> str:
    """What to do about a loss that is not finite."""
    ways = ["lower the learning rate (--set STAGE.rate=...)", "look at these images"]
    if runtime.precision != "32":
        ways.insert(0, "compute in float32 (--precision 32)")
    return f"Start again with another setting: {', or '.join(ways)}. What was learned before is kept."


def _record(done: Fitted, means: dict[str, float], epoch: int, title: str, writer: Any | None) -> None:
    means["loss"] = sum(means.values())
    for name, value in means.items():
        done.history.setdefault(name, []).append((epoch + 1, round(value, 6)))
        if writer is not None:
            writer.add_scalar(f"{title}/{name}", value, epoch + 1)


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for parameter, role in roles_of(model):
        if not parameter.requires_grad:
            continue
        factor = (schedule.new_factor if role.new else 1.0) * (schedule.bias_factor if role.bias else 1.0)
        groups[factor, 0.0 if role.bias else schedule.weight_decay].append(parameter)
    listed = [
        {"params": members, "factor": factor, "weight_decay": decay, "lr": schedule.rate * factor}
        for (factor, decay), members in groups.items()
    ]
    # Fused: one pass over the weights instead of ten, which on a CPU is a tenth of a small net's training.
    fused = next(model.parameters()).device.type in {"cpu", "cuda"}
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(
            listed, momentum=schedule.momentum, nesterov=schedule.nesterov and schedule.momentum > 0, fused=fused
        )
    return torch.optim.AdamW(listed, fused=fused)


def _set_rate(optimizer: torch.optim.Optimizer, schedule: Schedule, step: int, steps: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate * group["factor"] * schedule.factor(step, steps)


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, done: Fitted, epoch: int, store: CheckpointStore) -> None:
    # A finite loss can have a gradient that is not.
    bad = [name for name, value in model.named_parameters() if not bool(value.detach().isfinite().all())]
    if bad:
        raise ValueError(
            f"{store.path.name}, epoch {epoch}: expected finite weights, got NaN or infinity in {len(bad)} tensors, "
            f"the first of them {bad[0]}. Start again with a lower learning rate (--set STAGE.rate=...), or in float32 "
            "(--precision 32). What was learned before is kept."
        )
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
    store.save_checkpoint(tensors, TrainingState(epoch, done.steps, done.history))


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, done: Fitted, store: CheckpointStore | None) -> int:
    """Go on from the checkpoint if there is one; returns the epoch to start with."""
    kept = store.load_checkpoint() if store is not None else None
    if kept is None:
        return 0
    tensors, state = kept
    prefix = "model."
    model.load_state_dict({name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)})
    whole = optimizer.state_dict()
    slots: dict[int, dict[str, Tensor]] = defaultdict(dict)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            # Laid out in memory as its weights are: fused optimisers go through both in the order of memory.
            like = weights[int(index)]
            slots[int(index)][name] = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
    optimizer.load_state_dict({"state": dict(slots), "param_groups": whole["param_groups"]})
    done.steps, done.history = state.steps, state.history
    return state.epoch


def _writer(store: CheckpointStore | None) -> Any | None:
    if store is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (slow to import)

    return SummaryWriter(str(store.path / "tensorboard"))
