"""Dense CRF: ours against pydensecrf2, both in turn on the same machine.

    pip install pydensecrf2   (needs a C++ compiler; without it, only our own times are printed)
    python benchmarks/dense_crf.py

Each time is the best of some repetitions of the whole call: probabilities in, Q out, lattices built anew.
"Rounding" is the largest difference of each side to the same lattice and mean field in float64: where a
pixel hangs between two labels, ten steps of mean field magnify the rounding of either side.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from skimage.draw import disk, polygon
from skimage.filters import gaussian
from skimage.transform import resize

from tag2mask.ops.crf import CrfSettings, DenseCrf, _team, dense_crf
from tag2mask.ops.kernels.lattice import build_lattice
from timing import best_times

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import pydensecrf.densecrf as peer
    from pydensecrf.utils import unary_from_softmax
except ImportError:
    peer = None

SETTINGS = CrfSettings.paper()


def draw_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Textured ground, soft light, some objects, camera noise: (H, W, 3) uint8."""
    random = np.random.default_rng(seed)
    image = resize(random.random((6, 8, 3)), (height, width, 3), order=1) * 90 + 60
    image += gaussian(random.normal(size=(height, width, 3)), (2, 2, 0)) * 60
    for number in range(9):
        row, column = random.integers(0, height), random.integers(0, width)
        radius = random.integers(height // 12, height // 4)
        if number % 2:
            inside = disk((row, column), radius, shape=(height, width))
        else:
            inside = polygon(
                row + random.integers(-radius, radius, 5),
                column + random.integers(-radius, radius, 5),
                (height, width),
            )
        image[inside] = 0.25 * image[inside] + 0.75 * random.integers(20, 236, 3)
    image += random.normal(scale=4, size=image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def draw_probabilities(labels: int, height: int, width: int, seed: int = 1) -> np.ndarray:
    """Smooth, unsure probabilities, as enlarged class activation maps are: (C, H, W) float32."""
    random = np.random.default_rng(seed)
    logits = resize(random.normal(scale=3, size=(8, 10, labels)), (height, width, labels), order=1)
    exponentials = np.exp(logits).transpose(2, 0, 1)
    return np.ascontiguousarray(exponentials / exponentials.sum(axis=0), dtype=np.float32)


def pydensecrf2(image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The public implementation at the same settings."""
    labels, height, width = probabilities.shape
    crf = peer.DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(probabilities)))
    crf.addPairwiseGaussian(sxy=SETTINGS.gaussian_sxy, compat=SETTINGS.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=SETTINGS.bilateral_sxy,
        srgb=SETTINGS.bilateral_srgb,
        rgbim=image,
        compat=SETTINGS.bilateral_weight,
    )
    return np.array(crf.inference(SETTINGS.iterations)).reshape(probabilities.shape)


def in_float64(image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Our lattice as sparse matrices, and mean field, in float64."""
    filters = []
    for deviations, weight in (
        ([SETTINGS.gaussian_sxy] * 2, SETTINGS.gaussian_weight),
        ([SETTINGS.bilateral_sxy] * 2 + [SETTINGS.bilateral_srgb] * 3, SETTINGS.bilateral_weight),
    ):
        with _team(1) as run:
            lattice = build_lattice(run, image, deviations)
        (pixels, corners), points = lattice.offsets.shape, lattice.count
        entries = np.repeat(np.arange(pixels), corners), lattice.offsets.ravel()
        splat = sp.csr_matrix((lattice.weights.ravel().astype(float), entries), (pixels, points)).T
        blurs = []
        for neighbours in lattice.neighbours:
            to, start = np.repeat(np.arange(points), 2), neighbours.ravel()
            there = start < points
            half = sp.csr_matrix((np.full(there.sum(), 0.5), (to[there], start[there])), (points, points))
            blurs.append(sp.eye(points) + half)
        filters.append((splat, blurs, 1 / (1 + 2.0 ** (1 - corners)), weight))

    def apply(q: np.ndarray, splat: sp.csr_matrix, blurs: list[sp.csr_matrix], gain: float) -> np.ndarray:
        values = splat @ q
        for blur in blurs:
            values = blur @ values
        return gain * (splat.T @ values)

    norms = [apply(np.ones((splat.shape[1], 1)), splat, blurs, gain) ** -0.5 for splat, blurs, gain, _ in filters]
    unary = np.log(np.clip(probabilities.reshape(len(probabilities), -1).T.astype(float), 1e-5, 1))
    energies = unary
    for _ in range(SETTINGS.iterations + 1):
        q = np.exp(energies - energies.max(axis=1, keepdims=True))
        q /= q.sum(axis=1, keepdims=True)
        energies = unary + sum(
            weight * norm * apply(norm * q, splat, blurs, gain)
            for norm, (splat, blurs, gain, weight) in zip(norms, filters, strict=True)
        )
    return q.T.reshape(probabilities.shape)


def main() -> None:
    """Print one row per number of labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--labels", type=int, nargs="+", default=(2, 5, 21))
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--image", help="a file instead of the drawn image")
    options = parser.parse_args()
    if options.image:
        from skimage.io import imread  # noqa: PLC0415

        image = np.ascontiguousarray(imread(options.image)[..., :3])
    else:
        image = draw_image(*options.size)
    height, width = image.shape[:2]
    print(f"dense CRF, {width}x{height}, {SETTINGS.iterations} iterations, best of {options.repetitions}, ms")
    print("labels  pydensecrf2  1 thread  2 threads  refine only (1, 2)   ratio 1   ratio 2", end="")
    print("   labels equal   max |dQ|   rounding: theirs     ours")
    for labels in options.labels:
        probabilities = draw_probabilities(labels, height, width)
        crfs = [DenseCrf(image, threads=threads) for threads in (1, 2)]
        calls: dict[str, Callable[[], object]] = {
            "one": lambda p=probabilities: dense_crf(image, p, threads=1),
            "two": lambda p=probabilities: dense_crf(image, p, threads=2),
            "refine one": lambda p=probabilities, c=crfs: c[0].refine(p),
            "refine two": lambda p=probabilities, c=crfs: c[1].refine(p),
        }
        if peer:
            calls["peer"] = lambda p=probabilities: pydensecrf2(image, p)
        times = best_times(calls, options.repetitions)
        ours = dense_crf(image, probabilities)
        row = f"{times['one']:10.0f}{times['two']:11.0f}{times['refine one']:13.0f},{times['refine two']:6.0f}"
        if not peer:
            print(f"{labels:6d}{'-':>13}{row}")
            continue
        theirs, true = pydensecrf2(image, probabilities), in_float64(image, probabilities)
        equal = (theirs.argmax(axis=0) == ours.argmax(axis=0)).mean()
        print(
            f"{labels:6d}{times['peer']:13.0f}{row}{times['peer'] / times['one']:10.2f}x"
            f"{times['peer'] / times['two']:9.2f}x{100 * equal:13.4f}%{np.abs(theirs - ours).max():12.1e}"
            f"{np.abs(theirs - true).max():16.1e}{np.abs(ours - true).max():12.1e}"
        )


if __name__ == "__main__":
    main()
