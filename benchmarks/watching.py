"""What a run spends its time on, seen from outside: stages, training steps, kernels, and the parts of other stages.

Functions of the package are wrapped while a block runs and put back afterwards; the package itself knows nothing of it.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from tag2mask.learning import fit as training
from tag2mask.nets.affinity_net import AffinityNet
from tag2mask.nets.classifier import CamClassifier
from tag2mask.nets.region_net import RegionNet
from tag2mask.nets.segmenter import DeepLab
from tag2mask.nets.spn import PairwiseNetwork
from tag2mask.ops import random_walk
from tag2mask.ops.crf import DenseCrf
from tag2mask.runs.run_folder import RunFolder
from tag2mask.runs.stage_folder import StageFolder
from tag2mask.stages import s5_walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

WARM = 4
"""Steps of a training before the profiler starts; the operations of the second one are counted."""

TIMED = 8
"""Steps that are left, at least, to be timed without a profiler."""

CONVOLUTIONS, OPTIMISER, LOADING, REST = "convolutions, matrices", "optimiser", "loading", "rest"

KINDS = {
    CONVOLUTIONS: ("convolution", "conv2d", "linear", "::mm", "::addmm", "::bmm", "::matmul"),
    "batch norm": ("batch_norm", "batchnorm"),
    "activations": ("relu", "threshold", "clamp", "elu", "sigmoid"),
    "pooling, resizing": ("pool", "upsample", "interpolate", "::cat", "::mean"),
    "pairs, scans, losses": (
        "pair", "scan", "propag", "::log", "logsoftmax", "nll", "::neg", "::mul", "::sum", "::div", "::sub", "::abs",
        "::eq", "::ne", "::gt", "::lt", "::where", "bitwise", "::exp", "softmax", "gather", "scatter", "index",
    ),
    "casts, copies": ("::copy_", "::_to_copy", "::clone", "::contiguous", "::fill_", "::zero"),
}  # fmt: skip
"""Words in the names of kernels, by kind; the first kind that knows a word of the name has the kernel."""

_STEP = "one training step"


@dataclass
class Part:
    """Calls of one part of a stage that trains nothing.

    Args:
        again: some of the calls, to be made again alone.
        count: of all calls.
        net: that is called, if it is one.
    """

    again: list[Callable[[], object]] = field(default_factory=list)
    count: int = 0
    net: torch.nn.Module | None = None


@dataclass
class Stage:
    """One stage of a run.

    Args:
        begun: on the clock, in seconds.
        ended: likewise.
        steps: beginning and end of every training step.
        profiled: how many of them under the profiler.
        seconds: of these by kind of kernel.
        flops: floating-point operations of one step.
        parts: what else was called.
    """

    begun: float
    ended: float = 0.0
    steps: list[tuple[float, float]] = field(default_factory=list)
    profiled: int = 0
    seconds: Counter[str] = field(default_factory=Counter)
    flops: int = 0
    parts: dict[str, Part] = field(default_factory=lambda: defaultdict(Part))

    def step_seconds(self) -> tuple[float, float]:
        """Of the steps behind the profiled ones: seconds of a step, and of a step with the loading in front of it."""
        last = self.steps[WARM + self.profiled :]
        inside = sum(end - begin for begin, end in last[1:])
        return inside / (len(last) - 1), (last[-1][1] - last[0][1]) / (len(last) - 1)

    def shares(self) -> dict[str, float]:
        """Of a step with the loading in front of it: the share of each kind of kernel, and of the loading."""
        inside, whole = self.step_seconds()
        profiled = sum(self.seconds.values())
        shares = {kind: found / profiled * inside / whole for kind, found in self.seconds.items()}
        return {**dict.fromkeys((*KINDS, OPTIMISER, LOADING, REST), 0.0), **shares, LOADING: 1 - inside / whole}

    def other_seconds(self) -> float:
        """Seconds of the stage in front of and behind its training; all of them if it trains nothing."""
        whole = self.ended - self.begun
        return whole - (self.steps[-1][1] - self.steps[0][0]) if self.steps else whole


class Watch:
    """The stages of a run while it goes on.

    Args:
        profiled: steps of each training under the profiler.
    """

    def __init__(self, profiled: int) -> None:
        self.stages: dict[str, Stage] = {}
        self._profiled = profiled
        self._now = Stage(0.0)
        self._profiler: Any = None
        self._lock = Lock()

    def enter(self, name: str) -> None:
        """A stage begins."""
        self._now = self.stages[name] = Stage(time.perf_counter())

    def leave(self) -> None:
        """It ends."""
        self._now.ended = time.perf_counter()

    def step(self, take: Callable[[], Any]) -> Any:
        """Take one training step: of one the operations are counted, some are profiled, the others only timed."""
        stage, index = self._now, len(self._now.steps)
        counter = FlopCounterMode(display=False) if index == 1 else None
        begin = time.perf_counter()
        with counter or record_function(_STEP):
            found = take()
        stage.steps.append((begin, time.perf_counter()))
        if counter:
            stage.flops = counter.get_total_flops()
        if index == WARM - 1:
            self._profiler = profile(activities=[ProfilerActivity.CPU])
            self._profiler.start()
        elif index == WARM - 1 + self._profiled:
            self._profiler.stop()
            stage.profiled = self._profiled
            stage.seconds = _by_kind(self._profiler.events())
        return found

    def call(self, name: str, every: int, call: Callable[[], Any], again: Callable[[], Any], owner: object) -> Any:
        """Call a part, and keep one of some calls to make it again."""
        if isinstance(owner, torch.nn.Module):
            if torch.is_grad_enabled():
                return call()
            name = f"{type(owner).__name__} forward"
        with self._lock:
            part = self._now.parts[name]
            part.net = owner if isinstance(owner, torch.nn.Module) else None
            if part.count % every == 0:
                part.again.append(again)
            part.count += 1
        return call()


PARTS: tuple[tuple[Any, str, str, int], ...] = (
    (CamClassifier, "cams", "", 5),
    (CamClassifier, "forward", "", 5),
    (AffinityNet, "forward", "", 5),
    (DeepLab, "forward", "", 5),
    (RegionNet, "forward", "", 5),
    (PairwiseNetwork, "guide", "", 5),
    (PairwiseNetwork, "refine", "", 5),
    (DenseCrf, "__init__", "CRF lattices", 7),
    (DenseCrf, "refine", "CRF mean field", 31),
    (s5_walk, "pair_affinity", "pair affinities", 7),
    (random_walk, "_walked", "random walk", 7),
)
"""Where parts of stages are called: owner, attribute, name (nets have one), and of how many calls one is kept."""


@contextmanager
def watched(profiled: int) -> Iterator[Watch]:
    """Watch what runs inside the block.

    Args:
        profiled: steps of each training under the profiler; a training takes `WARM` + `TIMED` more at least.
    """
    watch = Watch(profiled)
    open_stage, finish, step = RunFolder.open_stage, StageFolder.finish, training._step

    def opened(self: RunFolder, name: str, *args: Any, **options: Any) -> StageFolder:
        watch.enter(name)
        return open_stage(self, name, *args, **options)

    def finished(self: StageFolder, *args: Any, **options: Any) -> None:
        finish(self, *args, **options)
        watch.leave()

    with ExitStack() as stack:
        for owner, attribute, replacement in (
            (RunFolder, "open_stage", opened),
            (StageFolder, "finish", finished),
            (training, "_step", lambda *args, **options: watch.step(lambda: step(*args, **options))),
            *((owner, attribute, _through(watch, owner, attribute, *rest)) for owner, attribute, *rest in PARTS),
        ):
            stack.enter_context(patch.object(owner, attribute, replacement))
        yield watch


def _through(watch: Watch, owner: Any, attribute: str, name: str, every: int) -> Callable[..., Any]:
    """A function that a watch makes the calls of."""
    function = getattr(owner, attribute)

    def through(*args: Any, **options: Any) -> Any:
        def again() -> object:
            # A new object instead of one that is in use.
            return owner(*args[1:], **options) if attribute == "__init__" else function(*args, **options)

        return watch.call(name, every, lambda: function(*args, **options), again, args[0])

    return through


def _by_kind(events: Iterable[Any]) -> Counter[str]:
    """Seconds of the profiled steps by kind of kernel; time in no kernel, which is Python's, belongs to the rest."""
    seconds: Counter[str] = Counter()
    for event in events:
        callers, caller = [event.name], event.cpu_parent
        while caller is not None:
            callers.append(caller.name)
            caller = caller.cpu_parent
        if _STEP in callers:
            seconds[_kind(callers)] += event.self_cpu_time_total / 1e6
    return seconds


def _kind(callers: list[str]) -> str:
    """The kind of a kernel, by its own name and those of its callers."""
    if any(name.startswith("Optimizer.") for name in callers):
        return OPTIMISER
    own = callers[0].lower()
    return next((kind for kind, words in KINDS.items() if any(word in own for word in words)), REST)
