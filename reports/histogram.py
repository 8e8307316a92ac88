"""Latency histograms: log-linear buckets with 2^-7 relative error, mergeable.

Bucket of a value v (an integer, ns):

    shift = max(0, bit_length(v) - 8)        # 8 = sub_bits + 1
    index = shift * 128 + (v >> shift)       # 128 = 2^sub_bits

Values below 256 have a bucket each (shift 0, indexes 0 … 255); above, v >> shift
lies in 128 … 255, so each power of two takes 128 buckets, and indexes ascend
without gaps: shift s covers (s+1)·128 … (s+2)·128 - 1. A bucket's lower edge is

    index < 256:  index
    else:         shift = index // 128 - 1;  (index - shift * 128) << shift

and its width 2^shift. The same text stands in harness/histogram.h.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

SUB_BITS = 7


def bucket_of(value: int) -> int:
    """Bucket index of `value` ≥ 0."""
    shift = max(0, value.bit_length() - (SUB_BITS + 1))
    return (shift << SUB_BITS) + (value >> shift)


def lower_edge(index: int) -> int:
    """Smallest value of bucket `index`."""
    if index < 2 << SUB_BITS:
        return index
    shift = (index >> SUB_BITS) - 1
    return (index - (shift << SUB_BITS)) << shift


def width(index: int) -> int:
    """Number of distinct values of bucket `index`."""
    return 1 if index < 2 << SUB_BITS else 1 << ((index >> SUB_BITS) - 1)


class Histogram:
    """Sum of stored histograms; percentiles are read from the merged buckets, never averaged."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.count = 0
        self.sum = 0
        self.min: int | None = None
        self.max: int | None = None

    @classmethod
    def merged(cls, stored: Iterable[Mapping]) -> "Histogram":
        """Merges `latency` objects of a result file."""
        total = cls()
        for each in stored:
            for index, count in each["buckets"]["counts"]:
                total.counts[index] += count
            total.count += each["count"]
            total.sum += each["sum"]
            if each["count"]:
                total.min = each["min"] if total.min is None else min(total.min, each["min"])
                total.max = each["max"] if total.max is None else max(total.max, each["max"])
        return total

    @staticmethod
    def middle(index: int) -> float:
        """The value that stands for bucket `index`."""
        return lower_edge(index) + (width(index) - 1) / 2

    @property
    def mean(self) -> float | None:
        """Exact mean in ns: sum and count are kept beside the buckets."""
        return self.sum / self.count if self.count else None

    def percentile(self, q: float) -> float | None:
        """Value (bucket middle, ns) at quantile `q`; None when fewer than 10 values lie above (METHOD b.3)."""
        if self.count == 0 or (q > 0.5 and self.count * (1 - q) < 10 - 1e-9):
            return None
        rank, seen = q * self.count, 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= rank:
                middle = self.middle(index)
                return float(min(max(middle, self.min or 0), self.max if self.max is not None else middle))
        return float(self.max) if self.max is not None else None
