"""Statistics against scipy, published tables and simulation with a fixed seed."""

import math

import numpy as np
import pytest
from reports import statistics as st

scipy_stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("n, expected", [(5, 0.0625), (6, 0.03125), (8, 0.0078125), (9, 0.00390625)])
def test_smallest_signed_rank_p_is_the_published_one(n, expected):
    assert st.signed_rank_p(np.arange(1.0, n + 1)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [6, 9, 15, 25])
def test_signed_rank_p_agrees_with_scipy(n):
    rng = np.random.default_rng(n)
    for _ in range(20):
        values = rng.normal(0.3, 1, n)
        assert st.signed_rank_p(values) == pytest.approx(scipy_stats.wilcoxon(values, mode="exact").pvalue, rel=1e-9)


def test_signed_rank_counts_sum_to_all_sign_patterns():
    assert sum(st.signed_rank_counts(25)) == 2**25


def test_interval_excludes_zero_exactly_when_the_test_rejects():
    rng = np.random.default_rng(3)
    decisions = set()
    for _ in range(300):
        values = rng.normal(0.6, 1, 9)
        e = st.paired_log_ratio(values)
        excluded = e.low > 0 or e.high < 0
        decisions.add(excluded)
        assert excluded == (st.signed_rank_p(values) <= 0.05)
    assert decisions == {True, False}


def test_six_blocks_give_the_range_as_95_percent_interval():
    e = st.paired_log_ratio(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.9]))
    assert (e.kind, e.low, e.high) == ("ci95", 0.1, 0.9)


@pytest.mark.parametrize("n, kind", [(1, "none"), (2, "range"), (5, "range"), (6, "ci95"), (25, "ci95"), (26, "ci95")])
def test_kind_of_interval_follows_the_number_of_blocks(n, kind):
    values = np.linspace(-1, 1, n)
    assert st.paired_log_ratio(values).kind == kind
    assert st.median_estimate(values + 2).kind == kind


def test_below_six_blocks_the_interval_is_the_range_and_has_no_p():
    e = st.paired_log_ratio(np.array([0.3, 0.1, 0.2]))
    assert (e.low, e.high, e.p) == (0.1, 0.3, None)


def test_hodges_lehmann_resists_one_wild_block():
    e = st.paired_log_ratio(np.array([0.10, 0.11, 0.09, 0.10, 0.12, 0.08, 0.10, 0.11, 9.0]))
    assert 0.09 < e.value < 0.13


@pytest.mark.parametrize("n, low, high", [(6, 0, 5), (9, 1, 7), (15, 3, 11)])
def test_median_interval_uses_the_published_order_statistics(n, low, high):
    values = np.arange(float(n))
    e = st.median_estimate(values)
    assert (e.low, e.high) == (low, high)


def test_coverage_of_the_interval_is_at_least_95_percent():
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(2000):
        e = st.paired_log_ratio(rng.normal(0.2, 1, 9))
        hits += e.low <= 0.2 <= e.high
    assert hits / 2000 > 0.94


def test_bootstrap_is_reproducible():
    values = np.random.default_rng(1).normal(0, 1, 30)
    assert st.paired_log_ratio(values, "run a") == st.paired_log_ratio(values, "run a")


def test_bootstrap_interval_covers_the_truth():
    rng = np.random.default_rng(12)
    hits = 0
    for i in range(150):
        e = st.paired_log_ratio(rng.normal(0.2, 1, 30), str(i))
        hits += e.low <= 0.2 <= e.high
    assert hits / 150 > 0.88


def _ratio(low, value, high, kind="ci95"):
    return st.Estimate(value, low, high, kind, 9)


def test_tie_rule():
    assert st.is_tie(_ratio(0.98, 1.05, 1.10))
    assert st.is_tie(_ratio(1.005, 1.01, 1.019))
    assert not st.is_tie(_ratio(1.01, 1.05, 1.10))
    assert st.is_tie(_ratio(1.01, 1.05, 1.10), adjusted_p=0.2)
    assert not st.is_tie(_ratio(1.01, 1.05, 1.10), adjusted_p=0.04)
    assert not st.is_tie(_ratio(1.05, 1.05, 1.05, "none"))


def test_benjamini_hochberg_matches_the_textbook_example():
    p = [0.01, 0.04, 0.03, 0.20]
    assert st.benjamini_hochberg(p) == pytest.approx([0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.20])


def test_student_quantiles_agree_with_scipy():
    for degrees in range(1, 100):
        assert st.t975(degrees) == pytest.approx(scipy_stats.t.ppf(0.975, degrees), abs=2e-3)


def test_noise_floor_is_what_a_comparison_with_itself_would_show():
    rng = np.random.default_rng(5)
    blocks = [np.exp(rng.normal(0, 0.02, 9)) for _ in range(400)]
    assert st.noise_floor(blocks) == pytest.approx(2.306 * math.sqrt(2 / 9) * 0.02, rel=0.08)
    assert st.noise_floor([np.array([1.0, 2.0])]) is None


def test_half_width_is_symmetric_on_the_logarithmic_scale():
    assert _ratio(0.5, 1.0, 2.0).half_width == pytest.approx(1.0)
    assert _ratio(1.0, 1.0, 1.0).half_width == 0
