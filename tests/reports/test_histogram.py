"""Histogram buckets: as harness/histogram.h has them."""

import random

import pytest
from reports import histogram


def test_buckets_ascend_without_gaps_and_invert():
    for index in range(0, 128 * 40):
        edge = histogram.lower_edge(index)
        assert histogram.bucket_of(edge) == index
        assert histogram.bucket_of(edge + histogram.width(index) - 1) == index
        assert histogram.bucket_of(edge + histogram.width(index)) == index + 1


@pytest.mark.parametrize("value, index", [(0, 0), (127, 127), (255, 255), (256, 256), (257, 256), (258, 257), (511, 383), (512, 384)])
def test_known_buckets(value, index):
    assert histogram.bucket_of(value) == index


def test_relative_error_stays_below_one_in_128():
    rng = random.Random(1)
    for _ in range(2000):
        value = rng.randrange(1, 2**60)
        index = histogram.bucket_of(value)
        assert histogram.lower_edge(index) <= value < histogram.lower_edge(index) + histogram.width(index)
        assert histogram.width(index) <= max(1, value / 128)


def _stored(values):
    counts = {}
    for value in values:
        counts[histogram.bucket_of(value)] = counts.get(histogram.bucket_of(value), 0) + 1
    return {"count": len(values), "sum": sum(values), "min": min(values), "max": max(values),
            "buckets": {"counts": sorted(counts.items())}}


def test_merging_equals_recording_in_one():
    rng = random.Random(2)
    values = [rng.randrange(1000, 10**7) for _ in range(3000)]
    merged = histogram.Histogram.merged([_stored(values[:1000]), _stored(values[1000:])])
    assert merged.mean == sum(values) / 3000
    assert (merged.min, merged.max) == (min(values), max(values))
    assert merged.percentile(0.5) == pytest.approx(sorted(values)[1499], rel=1 / 64)
    assert merged.percentile(0.99) == pytest.approx(sorted(values)[2969], rel=1 / 64)


def test_percentiles_without_ten_values_above_are_not_given():
    merged = histogram.Histogram.merged([_stored(list(range(1, 1000)))])
    assert merged.percentile(0.99) is None
    assert merged.percentile(0.9) is not None
