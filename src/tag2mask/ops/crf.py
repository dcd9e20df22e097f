"""Fully connected conditional random field: sharpen class probabilities along the edges of an image.

Source: Kraehenbuehl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge
Potentials", NIPS 2011. Every pixel is joined to every other one; pixels that are near, or near and of
like colour, pay if their labels differ (Potts). Mean field, with the message passing done as Gaussian
filtering on the permutohedral lattice. As in the authors' public implementation, each kernel is
normalised on both sides, N^-1/2 K N^-1/2 with N = K 1, and a pixel's message includes its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tag2mask.checks import check_dtype, check_range, check_shape
from tag2mask.ops.kernels import mean_field as loops
from tag2mask.ops.kernels.lattice import PARTS, Lattice, build_lattice, part
from tag2mask.records import PHOTO_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tag2mask.ops.kernels.lattice import Run

CLIP = 1e-5
"""Smallest probability that counts (public implementation); from 0 a label could never come back."""

SLACK = 1e-4
"""How far outside [0, 1] a probability may be: interpolation rounds."""


@dataclass(frozen=True)
class CrfSettings:
    """The kernels of the dense CRF. Defaults: the paper's values, which AffinityNet uses too.

    Args:
        gaussian_sxy: standard deviation of the smoothness kernel, in pixels.
        gaussian_weight: its weight.
        bilateral_sxy: standard deviation of the appearance kernel in space, in pixels.
        bilateral_srgb: the same in colour, in grey levels of 0..255.
        bilateral_weight: its weight.
        iterations: mean-field steps.
    """

    gaussian_sxy: float = 3.0
    gaussian_weight: float = 3.0
    bilateral_sxy: float = 80.0
    bilateral_srgb: float = 13.0
    bilateral_weight: float = 10.0
    iterations: int = 10

    def __post_init__(self) -> None:
        for name in ("gaussian_sxy", "bilateral_sxy", "bilateral_srgb"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"CrfSettings.{name}: expected a number above 0, got {getattr(self, name)!r}.")
        for name in ("gaussian_weight", "bilateral_weight", "iterations"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"CrfSettings.{name}: expected 0 or more, got {getattr(self, name)!r}.")

    @classmethod
    def paper(cls) -> CrfSettings:
        """The published settings, which are the defaults."""
        return cls()

    @classmethod
    def quick(cls, image_side: int = 320, *, pretrained: bool = False) -> CrfSettings:
        """The published widths, which are meant for photographs of 500 pixels, scaled with the images.

        On photographs colours have half the published weight: maps of a net from scratch are less sure than those
        that it was set for, and 5 or 3 make better masks than 10. On small drawn scenes 10 is better.

        Args:
            image_side: typical long side of the images in pixels.
            pretrained: the classifier started from ImageNet weights: its maps are sure enough for the published weight.
        """
        return cls(
            gaussian_sxy=3.0 * image_side / 500,
            bilateral_sxy=80.0 * image_side / 500,
            bilateral_weight=10.0 if pretrained or image_side < PHOTO_SIDE else 5.0,
        )


def dense_crf(
    image: np.ndarray,
    probabilities: np.ndarray,
    *,
    settings: CrfSettings = CrfSettings(),
    threads: int | None = None,
) -> np.ndarray:
    """Sharpen class probabilities along image edges (Kraehenbuehl & Koltun, NIPS 2011).

    For several probability maps of one image, build one `DenseCrf`.

    Args:
        image: (H, W, 3) uint8, RGB.
        probabilities: (C, H, W) float32 in [0, 1]. The unary term is -log of them, clipped at 1e-5.
        settings: kernels and number of mean-field steps.
        threads: 1 or 2; None: as many as ``torch.get_num_threads()``, at most 2. The result is the same
            to the bit. With many images, several at a time on one thread each are faster than one at a
            time on two; the kernels release the interpreter lock, so threads serve as well as processes.

    Returns:
        (C, H, W) float32: Q after the last step; sums to 1 over C. Values below about 1e-20 are 0.

    Raises:
        ValueError: for another type, shape or range, NaN, or deviations too small for the image's size.

    Example:
        >>> image = np.zeros((2, 3, 3), np.uint8)
        >>> dense_crf(image, np.full((2, 2, 3), 0.5, np.float32))[:, 0, 0].tolist()
        [0.5, 0.5]
    """
    return DenseCrf(image, settings, threads=threads).refine(probabilities)


class DenseCrf:
    """The dense CRF of one image: its lattices are built once and serve any number of probability maps.

    Args and errors as `dense_crf`.

    Example:
        >>> crf = DenseCrf(np.zeros((2, 3, 3), np.uint8))
        >>> [crf.refine(np.full((labels, 2, 3), 0.5, np.float32)).shape for labels in (2, 7)]
        [(2, 2, 3), (7, 2, 3)]
    """

    def __init__(self, image: np.ndarray, settings: CrfSettings = CrfSettings(), *, threads: int | None = None) -> None:
        _check_array("image", image, np.uint8, "H W 3")
        if image.size == 0:
            raise ValueError(f"image: expected at least one pixel, got shape {image.shape}.")
        self.settings = settings
        self.size = (int(image.shape[0]), int(image.shape[1]))
        self._threads = torch.get_num_threads() if threads is None else threads
        near = [settings.gaussian_sxy] * 2
        alike = [settings.bilateral_sxy] * 2 + [settings.bilateral_srgb] * 3
        pixels = np.ascontiguousarray(image)
        with _team(self._threads) as run:
            self._appearance = _normalised(run, build_lattice(run, pixels, alike), settings.bilateral_weight)
            self._smoothness = _normalised(run, build_lattice(run, pixels, near), settings.gaussian_weight)

    def refine(self, probabilities: np.ndarray) -> np.ndarray:
        """Run mean field from these probabilities.

        Args:
            probabilities: (C, H, W) float32 in [0, 1], of the image's size.

        Returns:
            (C, H, W) float32, sums to 1 over C.

        Raises:
            ValueError: for another type, shape or range, or NaN.
        """
        height, width = self.size
        _check_array("probabilities", probabilities, np.float32, "C H W", H=height, W=width)
        check_range("probabilities", probabilities, -SLACK, 1.0 + SLACK)
        labels, pixels = probabilities.shape[0], height * width
        if labels < 2:
            return np.ones_like(probabilities, order="C")
        given, result = probabilities.reshape(labels, pixels), np.empty((labels, pixels), np.float32)
        kernels = _kernels_for(labels)
        unary = _aligned_zeros(pixels * kernels.channels)

        def prepare(index: int) -> None:
            start, stop = part(pixels, index)
            logits = np.log(np.clip(given[:, start:stop], np.float32(CLIP), np.float32(1)))
            loops.differences(logits, kernels.channels, unary[start * kernels.channels :])

        with _team(self._threads) as run:
            run(prepare)
            self._mean_field(run, kernels, unary, result)
        return result.reshape(labels, height, width)

    def _mean_field(self, run: Run, kernels: _Kernels, unary: np.ndarray, result: np.ndarray) -> None:
        """Slice, softmax, splat, blur, and again; the last slice and softmax fill result (C, N)."""
        channels, pixels = kernels.channels, result.shape[1]
        lattices = a, b = self._appearance, self._smoothness
        # Per lattice: the messages, and one sum per range of pixels. They change places.
        messages = [_aligned_zeros((x.count + 1) * channels) for x in lattices]
        sums = [[_aligned_zeros(message.size) for _ in range(PARTS)] for message in messages]
        nothing = np.empty((0, 0), np.float32)
        for iteration in range(self.settings.iterations + 1):
            target = result if iteration == self.settings.iterations else nothing

            def over_pixels(index: int, target: np.ndarray = target) -> None:
                sum_a, sum_b = sums[0][index], sums[1][index]
                sum_a[:], sum_b[:] = 0, 0
                kernels.step(
                    unary, channels, *part(pixels, index), a.offsets, a.weights, messages[0],
                    b.offsets, b.weights, messages[1], sum_a, sum_b, target,
                )  # fmt: skip

            run(over_pixels)
            if target is nothing:
                for k, lattice in enumerate(lattices):
                    blurred, free = _blurred(run, lattice, kernels, *sums[k])
                    messages[k], sums[k] = blurred, [messages[k], free]


@dataclass(frozen=True)
class _Kernels:
    """The inner loops for some number of labels, and how many channels they work on."""

    channels: int
    step: Callable[..., Any]
    blur: Callable[..., Any]


def _aligned_zeros(size: int) -> np.ndarray:
    """(size,) float32 that starts on a cache line, so that no vector lies across two."""
    room = np.zeros(size + 16, np.float32)
    return room[-room.ctypes.data % 64 // 4 :][:size]


def _kernels_for(labels: int) -> _Kernels:
    """Two labels need one channel; more are padded to whole vectors."""
    if labels == 2:
        return _Kernels(1, loops.step_two, loops.blur_two)
    if labels <= 5:
        return _Kernels(4, loops.STEP_FEW, loops.BLUR_FEW)
    return _Kernels((labels + 6) // 8 * 8, loops.STEP_MANY, loops.BLUR_MANY)


def _blurred(
    run: Run, lattice: Lattice, kernels: _Kernels, values: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Blur values + other, ((M + 1) * channels) each, along all directions. Both are overwritten.

    Returns:
        The one of the two that holds the result, and the other one.
    """
    channels = kernels.channels
    run(lambda index: loops.add_up(values, other, *part(values.size, index)))
    source, target = values, other
    for neighbours in lattice.neighbours:

        def one_direction(
            index: int, pair: tuple[np.ndarray, np.ndarray, np.ndarray] = (source, neighbours, target)
        ) -> None:
            kernels.blur(pair[0], channels, pair[1], *part(lattice.count, index), pair[2])

        run(one_direction)
        source, target = target, source
    return source, target


def _normalised(run: Run, lattice: Lattice, weight: float) -> Lattice:
    """Fold the kernel's weight and N^-1/2 on both sides into the barycentric weights, in place."""
    offsets, weights, pixels = lattice.offsets, lattice.weights, len(lattice.offsets)
    # What the blurs gain in the mean over the lattice (Adams et al. 2010).
    gain = np.float32(1.0 / (1.0 + 2.0 ** (1 - offsets.shape[1])))
    sums = np.zeros((PARTS, lattice.count + 1), np.float32)
    run(lambda index: loops.splat_ones(offsets, weights, *part(pixels, index), sums[index]))
    ones, _ = _blurred(run, lattice, _kernels_for(2), *sums)
    run(lambda index: loops.fold(offsets, weights, ones, gain, np.float32(weight), *part(pixels, index)))
    return lattice


@contextmanager
def _team(threads: int) -> Iterator[Run]:
    """Yield a function that runs a task for each range, on this thread and, if wanted, on others."""
    if threads < 2:

        def run_in_turn(task: Callable[[int], None]) -> None:
            for index in range(PARTS):
                task(index)

        yield run_in_turn
        return
    with ThreadPoolExecutor(PARTS - 1, "dense_crf") as pool:

        def run_together(task: Callable[[int], None]) -> None:
            others = [pool.submit(task, index) for index in range(1, PARTS)]
            task(0)
            for other in others:
                other.result()

        yield run_together


def _check_array(name: str, array: object, dtype: type, pattern: str, **sizes: int) -> None:
    """Require a numpy array of this dtype and shape."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}: expected a numpy array, got {type(array).__name__}; a tensor has .numpy().")
    check_dtype(name, array, dtype)
    check_shape(name, array, pattern, **sizes)
