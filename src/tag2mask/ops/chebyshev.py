"""A power of a matrix times vectors with far fewer products than the exponent, by Chebyshev polynomials.

Z has its eigenvalues in [-1, 1]: a matrix of chances that is symmetric but for a scaling. With z = cos(a), the
Chebyshev polynomials are T_k(z) = cos(k a). The vectors T_k(Z) v come from T_k+1 = 2 Z T_k - T_k-1, one product each,
and Z^t v is a sum of about 5 sqrt(t) of them (Sachdeva & Vishnoi, Faster Algorithms via Approximation Theory, 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tag2mask.ops.kernels.walk import LANES, sum_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tag2mask.ops.affinity import Offset

TOLERANCE = 1e-6
"""What a polynomial may differ from the power, of 1: as much as float32 rounds in a few steps."""


def power_series(power: int, stay: float = 0.0, tolerance: float = TOLERANCE) -> NDArray[np.float64]:
    """The shares c of (stay + (1 - stay) z)^power = sum_k c_k T_k(z), for z in [-1, 1].

    As T_k(cos a) = cos(k a), these are Fourier coefficients. They are chances, too: of being k away from the start
    after so many steps on the whole numbers, if each step stays with the chance `stay` and else goes one up or down.
    So they are not negative, their sum is 1, and few lie beyond some sqrt(power * (1 - stay)).

    Args:
        power: >= 0.
        stay: in [0, 1].
        tolerance: how much the far end, which is left out, may hold in all; the result is within twice that.

    Returns:
        c_0 .. c_K, K <= power; their sum is 1.

    Example:
        >>> power_series(2).round(6).tolist()  # z^2 = (1 + T_2(z)) / 2
        [0.5, 0.0, 0.5]
        >>> len(power_series(256)) - 1
        78
    """
    # Beyond 9 sqrt(power) lie less than 1e-17 (Hoeffding); as many points as there are cosines and sines below.
    reach = min(power, math.ceil(9 * math.sqrt(power)))
    angles = np.arange(2 * reach + 1) * (2 * np.pi / (2 * reach + 1))
    shares = np.fft.rfft((stay + (1 - stay) * np.cos(angles)) ** power).real / len(angles)
    shares[1:] *= 2
    shares = np.maximum(shares, 0)
    beyond = np.cumsum(shares[::-1])[::-1]  # beyond[k] = c_k + c_k+1 + ...
    kept = shares[: max(1, int(np.count_nonzero(beyond > tolerance)))]
    return np.asarray(kept / kept.sum())


@dataclass(frozen=True)
class PixelRow:
    """Maps as one long row of n numbers: each of their rows with zeros behind, and rows of zeros above and below.

    So the neighbours at one offset are equally far away for all pixels, and none has to be asked for.

    Args:
        height: h of the maps.
        width: w of the maps.
        offsets: P neighbours (rows down, columns right), of one half of the disc.
    """

    height: int
    width: int
    offsets: Sequence[Offset]

    @property
    def reach(self) -> int:
        """The most rows or columns between neighbours."""
        return max((max(abs(down), abs(right)) for down, right in self.offsets), default=0)

    @property
    def stride(self) -> int:
        """From a pixel to the one below."""
        return self.width + self.reach

    @property
    def margin(self) -> int:
        """Rows of zeros above and below: for neighbours, and for the compiled loop, which goes by LANES pixels."""
        return self.reach + 1 + math.ceil(LANES / self.stride)

    @property
    def pixels(self) -> slice:
        """The map, with the zeros behind its rows."""
        return slice(self.margin * self.stride, (self.margin + self.height) * self.stride)

    @property
    def shifts(self) -> list[int]:
        """From a pixel to each neighbour: P numbers."""
        return [down * self.stride + right for down, right in self.offsets]

    def lay_out(self, maps: Tensor) -> Tensor:
        """(N, h, w) -> (N, n), float32."""
        rows = maps.new_zeros((len(maps), self.height + 2 * self.margin, self.stride), dtype=torch.float32)
        rows[:, self.margin : self.margin + self.height, : self.width] = maps
        return rows.flatten(1)

    def maps(self, rows: Tensor) -> Tensor:
        """(..., n) -> (..., h, w), a view."""
        inside = rows[..., self.pixels]
        return inside.view(*inside.shape[:-1], self.height, self.stride)[..., : self.width]


def combine(
    values: Tensor, weights: Tensor, taken: Tensor, series: Sequence[NDArray[np.float64]], on: PixelRow
) -> Tensor:
    """sum_k c_k T_k(Z) v for several v and several c at once; (Z v)_i = v_i + taken_i sum_j w_ij (v_j - v_i).

    With differences in it, Z keeps constants to the bit. And T_k+1 = 2 Z T_k - T_k-1 is reckoned as the drift
    T_k+1 - T_k = T_k - T_k-1 + 2 (Z - I) T_k: the product as it stands would lose a digit and a half to rounding.

    Args:
        values: (C, n) v, of `PixelRow.lay_out` like the next two.
        weights: (P, n) w_ij = w_ji of every pixel i and its neighbour j at offset p; 0 where that lies outside.
        taken: (n,), such that the eigenvalues of Z lie in [-1, 1].
        series: S times c, of any lengths.
        on: where the pixels lie.

    Returns:
        (S, C, n).
    """
    shares = np.zeros((max(map(len, series)), len(series)), dtype=np.float32)
    for s, each in enumerate(series):
        shares[: len(each), s] = each
    way = _combine_compiled if values.device.type == "cpu" else _combine_in_torch
    return way(values, weights, taken, torch.from_numpy(shares).to(values.device), on)


def _combine_in_torch(values: Tensor, weights: Tensor, taken: Tensor, shares: Tensor, on: PixelRow) -> Tensor:
    """On any device; shares (K + 1, S)."""
    first, stop = on.pixels.start, on.pixels.stop
    drift, sums = torch.zeros_like(values), shares[0, :, None, None] * values
    for k in range(1, len(shares)):
        own = values[:, first:stop]
        pull = torch.zeros_like(own)
        for pairs, shift in zip(weights, on.shifts, strict=True):
            pull.addcmul_(pairs[first:stop], values[:, first + shift : stop + shift] - own)
            pull.addcmul_(pairs[first - shift : stop - shift], values[:, first - shift : stop - shift] - own)
        drift[:, first:stop] += (1 if k == 1 else 2) * taken[first:stop] * pull
        values = values + drift
        sums += shares[k, :, None, None] * values
    return sums


def _combine_compiled(values: Tensor, weights: Tensor, taken: Tensor, shares: Tensor, on: PixelRow) -> Tensor:
    """In compiled loops, which take two or four channels at a time: an odd one is given a companion of zeros."""
    channels, size = values.shape
    even = values.new_zeros((channels + channels % 2, size))
    even[:channels] = values
    sums = shares[0, :, None, None] * even
    sum_up(
        even.flatten().numpy(),
        sums.flatten(1).numpy(),
        weights.flatten().numpy(),
        taken.numpy(),
        np.array(on.shifts, dtype=np.int64),
        shares.numpy(),
        on.pixels.start,
        on.pixels.stop,
    )
    return sums[:, :channels]
