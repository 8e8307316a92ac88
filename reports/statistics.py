"""Statistics of paired blocks (METHOD.md b.3 and b.4).

Arrays are one-dimensional, one value a block. Ratios are handled as differences
of natural logarithms. No value is ever dropped as an outlier.

Below six blocks no distribution-free 95 % interval exists (the smallest two-sided
signed-rank p at n = 5 is 0.0625), so the interval is the range of the values and
`kind` says "range": a description, not an inference.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

INFERENCE_BLOCKS_MIN = 6
EXACT_BLOCKS_MAX = 25
EXACT_GROUP_MAX = 20
EQUIVALENCE = 0.02  # ratios within ±2 % count as equal
CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A value with its interval. `kind`: "ci95", "range" (n < 6) or "none" (n = 1); `p` two-sided, None without inference."""

    value: float
    low: float
    high: float
    kind: str
    n: int
    p: float | None = None

    @property
    def half_width(self) -> float:
        """Half the interval of a positive value on the logarithmic scale: 0.03 reads ±3 %, 1.0 up to twice or half."""
        return math.sqrt(self.high / self.low) - 1 if self.low > 0 else math.inf

    def exp(self) -> "Estimate":
        """A log ratio turned into a ratio."""
        return Estimate(math.exp(self.value), math.exp(self.low), math.exp(self.high), self.kind, self.n, self.p)


@lru_cache(maxsize=None)
def signed_rank_counts(n: int) -> tuple[int, ...]:
    """Number of sign patterns with each rank sum 0 … n(n+1)/2 under the null (Wilcoxon 1945)."""
    counts = [1]
    for rank in range(1, n + 1):
        grown = counts + [0] * rank
        for total, ways in enumerate(counts):
            grown[total + rank] += ways
        counts = grown
    return tuple(counts)


def signed_rank_cdf(total: float, n: int) -> float:
    """P(W+ ≤ total), exact."""
    counts = signed_rank_counts(n)
    return sum(counts[: math.floor(total) + 1]) / 2**n if total >= 0 else 0.0


def walsh_averages(values: np.ndarray) -> np.ndarray:
    """Sorted means of all pairs i ≤ j: n(n+1)/2 values."""
    rows, columns = np.triu_indices(len(values))
    return np.sort((values[rows] + values[columns]) / 2)


def signed_rank_p(differences: np.ndarray) -> float:
    """Two-sided exact p of H0: symmetric about 0; W+ counts positive Walsh averages, zeros as half."""
    n = len(differences)
    walsh = walsh_averages(np.asarray(differences, float))
    total = float(np.sum(walsh > 0)) + 0.5 * float(np.sum(walsh == 0))
    pairs = n * (n + 1) / 2
    return min(1.0, 2 * signed_rank_cdf(min(total, pairs - total), n))


def _bootstrap(values: np.ndarray, seed_text: str) -> tuple[float, float]:
    """Percentile interval of the median over resampled blocks; the seed comes from `seed_text`."""
    seed = int.from_bytes(hashlib.sha256(seed_text.encode()).digest()[:8], "big")
    picks = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    medians = np.median(values[picks], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(low), float(high)


def paired_log_ratio(differences: np.ndarray, seed_text: str = "") -> Estimate:
    """Hodges-Lehmann estimate of paired log ratios `differences`, one a block (n ≥ 1).

    Interval: signed-rank inversion, exact for 6 ≤ n ≤ 25; percentile bootstrap
    over blocks above; the range below 6.
    """
    values = np.asarray(differences, float)
    n = len(values)
    walsh = walsh_averages(values)
    centre = float(np.median(walsh))
    if n == 1:
        return Estimate(centre, centre, centre, "none", 1)
    if n < INFERENCE_BLOCKS_MIN:
        return Estimate(centre, float(values.min()), float(values.max()), "range", n)
    if n > EXACT_BLOCKS_MAX:
        low, high = _bootstrap(values, seed_text)
        return Estimate(centre, low, high, "ci95", n, None if n > 200 else signed_rank_p(values))
    cut = 0
    while signed_rank_cdf(cut, n) <= (1 - CONFIDENCE) / 2:
        cut += 1
    return Estimate(centre, float(walsh[cut - 1]), float(walsh[-cut]), "ci95", n, signed_rank_p(values))


def median_estimate(values: np.ndarray) -> Estimate:
    """Median with its distribution-free interval of order statistics (n ≥ 6), else the range."""
    ordered = np.sort(np.asarray(values, float))
    n = len(ordered)
    centre = float(np.median(ordered))
    if n == 1:
        return Estimate(centre, centre, centre, "none", 1)
    if n < INFERENCE_BLOCKS_MIN:
        return Estimate(centre, float(ordered[0]), float(ordered[-1]), "range", n)
    tail, rank = 0.0, 0
    while True:  # P(Binomial(n, ½) ≤ rank)
        tail += math.comb(n, rank) / 2**n
        if tail > (1 - CONFIDENCE) / 2:
            break
        rank += 1
    return Estimate(centre, float(ordered[rank - 1]), float(ordered[n - rank]), "ci95", n)


def mad(values: np.ndarray) -> float:
    """Median absolute deviation, unscaled."""
    values = np.asarray(values, float)
    return float(np.median(np.abs(values - np.median(values))))


def is_tie(ratio: Estimate, adjusted_p: float | None = None) -> bool:
    """METHOD b.4: the interval includes 1 or lies inside ±2 %; with `adjusted_p`, also p > 0.05."""
    if ratio.kind == "none":
        return abs(ratio.value - 1) <= EQUIVALENCE
    if ratio.low <= 1 <= ratio.high:
        return True
    if ratio.low >= 1 - EQUIVALENCE and ratio.high <= 1 + EQUIVALENCE:
        return True
    return adjusted_p is not None and adjusted_p > 1 - CONFIDENCE


def benjamini_hochberg(p_values: list[float]) -> list[float]:
    """Adjusted p values in the order given (Benjamini & Hochberg 1995)."""
    m = len(p_values)
    adjusted = [0.0] * m
    least = 1.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: -p_values[i])):
        least = min(least, p_values[index] * m / (m - rank))
        adjusted[index] = least
    return adjusted


_T975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def t975(degrees: int) -> float:
    """0.975 quantile of Student's t for `degrees` ≥ 1: table to 15, then Cornish-Fisher (error < 0.001)."""
    if degrees <= len(_T975):
        return _T975[degrees - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def noise_floor(block_values: list[np.ndarray]) -> float | None:
    """Smallest relative difference this session can see between two equal drivers.

    Per case: t(0.975, n-1)·√2·s/√n with s the standard deviation of the control's
    log times over blocks: the half-width a comparison of the control with itself
    would have. Returns the median over cases with n ≥ 3, None without any.
    """
    widths = []
    for values in block_values:
        n = len(values)
        if n >= 3 and np.all(values > 0):
            spread = float(np.std(np.log(values), ddof=1))
            widths.append(t975(n - 1) * math.sqrt(2 / n) * spread)
    return math.expm1(float(np.median(widths))) if widths else None


@lru_cache(maxsize=None)
def rank_sum_counts(m: int, n: int) -> tuple[int, ...]:
    """Number of orderings with each U = 0 … m·n of two groups without ties (Mann & Whitney 1947)."""
    if m == 0 or n == 0:
        return (1,)
    with_last, without = rank_sum_counts(m - 1, n), rank_sum_counts(m, n - 1)
    counts = [0] * (m * n + 1)
    for u, ways in enumerate(with_last):  # the largest value is of the first group: it exceeds all n
        counts[u + n] += ways
    for u, ways in enumerate(without):
        counts[u] += ways
    return tuple(counts)


def rank_sum_cdf(u: float, m: int, n: int) -> float:
    """P(U ≤ u): exact without ties to 20 values a side, the normal approximation with continuity above."""
    if u < 0:
        return 0.0
    if max(m, n) <= EXACT_GROUP_MAX:
        return sum(rank_sum_counts(m, n)[: math.floor(u) + 1]) / math.comb(m + n, m)
    z = (u + 0.5 - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)
    return 0.5 * math.erfc(-z / math.sqrt(2))


def log_shift(before: np.ndarray, after: np.ndarray) -> Estimate:
    """Hodges-Lehmann estimate of `after` - `before`, two independent groups of logs (each n ≥ 1).

    Interval: inversion of the Mann-Whitney test; where no 95 % interval exists (groups
    too small: 3 against 4, say) the range of all pairwise differences. `n` is the smaller group.
    """
    before, after = np.asarray(before, float), np.asarray(after, float)
    m, n = len(before), len(after)
    pairs = np.sort((after[:, None] - before[None, :]).ravel())
    centre = float(np.median(pairs))
    if m * n == 1:
        return Estimate(centre, centre, centre, "none", 1)
    cut = 0
    while rank_sum_cdf(cut, m, n) <= (1 - CONFIDENCE) / 2:
        cut += 1
    if cut == 0:
        return Estimate(centre, float(pairs[0]), float(pairs[-1]), "range", min(m, n))
    above = float(np.sum(pairs > 0)) + 0.5 * float(np.sum(pairs == 0))
    p = min(1.0, 2 * rank_sum_cdf(min(above, m * n - above), m, n))
    return Estimate(centre, float(pairs[cut - 1]), float(pairs[-cut]), "ci95", min(m, n), p)
