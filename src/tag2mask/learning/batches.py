"""epoch_batches: shuffled batches of views, made beside the training."""

from __future__ import annotations

import math
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from tag2mask.parallel import set_own_threads
from tag2mask.records import LabelledBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from torch import Tensor

    from tag2mask.learning.schedule import Schedule
    from tag2mask.runtime import Runtime

Place = tuple[int, int]
"""What an item is looked up by: (epoch, index)."""

THREADS = 2
"""Threads that make items beside a training."""


def epoch_batches(
    dataset: Dataset[Any],
    collate: Callable[[list[Any]], Any],
    schedule: Schedule,
    runtime: Runtime,
    title: str,
) -> tuple[Callable[[int], Iterable[Any]], int]:
    """Shuffled batches of an epoch, and how many there are.

    Args:
        dataset: its items are looked up by (epoch, index), so that augmentation follows from both alone. Several
            threads may ask for items at the same time.
        collate: list of items -> batch.
        schedule: gives the batch size, and whether a last small batch is filled up, so that batch norm never sees a
            single image, or left out.
        runtime: gives the seed and the number of loading processes.
        title: part of the seed.
    """
    count = len(dataset)  # type: ignore[arg-type]
    steps = math.ceil(count / schedule.batch_size)
    if not schedule.fill_last:
        steps = max(1, count // schedule.batch_size)

    def batches(epoch: int) -> Iterable[Any]:
        generator = torch.Generator().manual_seed(runtime.derived_seed(title, "order", epoch))
        order = torch.randperm(count, generator=generator).tolist()
        while schedule.fill_last and order and len(order) < steps * schedule.batch_size:
            order += order[: steps * schedule.batch_size - len(order)]
        order = order[: steps * schedule.batch_size]
        groups: list[Sequence[Place]] = [
            [(epoch, index) for index in order[start : start + schedule.batch_size]]
            for start in range(0, len(order), schedule.batch_size)
        ]
        if not runtime.workers:
            return _made_in_threads(dataset, groups, collate)
        loader = DataLoader(
            dataset,
            batch_sampler=groups,  # type: ignore[arg-type]
            collate_fn=collate,
            num_workers=runtime.workers,
        )
        # Batches are records, which whoever learns from them brings to the device.
        whole: Iterable[Any] = runtime.fabric.setup_dataloaders(loader, move_to_device=False)
        return whole

    return batches, steps


def _made_in_threads(
    dataset: Dataset[Any], groups: Sequence[Sequence[Place]], collate: Callable[[list[Any]], Any]
) -> Iterator[Any]:
    """The batches one after the other; the next one is made while the network learns from the last one."""
    # `DataLoader` draws a number, too: with the same seed, dropout is the same with and without loading processes.
    torch.empty((), dtype=torch.int64).random_()
    with _one_threaded(THREADS) as pool:
        ahead: list[list[Future[Any]]] = []
        try:
            for group in groups:
                ahead.append([pool.submit(dataset.__getitem__, place) for place in group])
                if len(ahead) == 2:
                    yield collate([item.result() for item in ahead.pop(0)])
            for last in ahead:
                yield collate([item.result() for item in last])
        finally:
            pool.shutdown(cancel_futures=True)


def _one_threaded(count: int) -> ThreadPoolExecutor:
    """Threads in which torch shares out no operator: waking others for a small view takes longer than making it."""
    started = Barrier(count + 1)
    before = torch.get_num_threads()

    def start() -> None:
        set_own_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(count, initializer=start)
    for _ in range(count):
        pool.submit(int)
    started.wait()
    torch.set_num_threads(before)
    return pool


def collate_labelled(items: list[tuple[str, Tensor, Tensor]]) -> LabelledBatch:
    """Stack views into a batch."""
    names, pixels, labels = zip(*items, strict=True)
    return LabelledBatch(tuple(names), torch.stack(pixels), torch.stack(labels))
