"""The compact summary: per case and driver n, median, interval, ratios, spread, verdict. Recomputable from `benchmarks`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import facts, statistics, use_cases
from .comparison import Comparison, usable
from .statistics import Estimate

METRICS = ("bytes_dev_written", "bytes_dev_read", "bytes_app_written", "space_bytes", "inodes", "page_cache_bytes",
           "page_cache_bytes_per_container", "space_bytes_per_container", "inodes_per_container", "cpu_helpers_s",
           "helpers_rss_peak_bytes")


def number(value: float) -> float:
    """Nine significant digits: enough for everybody, and short."""
    return float(f"{value:.9g}")


_INTERVAL_KEYS = {"median": "", "ratio_to_control": "ratio_", "ratio_to_best": "ratio_to_best_"}


def _interval(key: str, estimate: Estimate | None) -> dict[str, Any]:
    """{"median": …, "ci95": […]}, or "range" in place of "ci95" below six blocks."""
    if estimate is None:
        return {}
    row: dict[str, Any] = {key: number(estimate.value)}
    if estimate.kind != "none":
        row[_INTERVAL_KEYS[key] + estimate.kind] = [number(estimate.low), number(estimate.high)]
    return row


def case_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per case and driver, the control and unranked drivers included."""
    run = comparison.run
    rows = []
    for case in run.cases:
        for driver in run.drivers.values():
            samples = usable(run.blocks(case, driver.slug))
            if not samples:
                continue
            values = np.array([samples[b].seconds for b in sorted(samples)])
            row: dict[str, Any] = {"case": case.key, "driver": driver.slug, "engine": driver.engine, "metric": "real_time",
                                   "unit": "s", "n": len(values)}
            row |= _interval("median", statistics.median_estimate(values))
            row["mad"] = number(statistics.mad(values))
            ranking = comparison.by_case.get(driver.engine, {}).get(case.key)
            standing = ranking.standings.get(driver.slug) if ranking else None
            if standing:
                row |= _interval("ratio_to_control", standing.to_control) | _interval("ratio_to_best", standing.to_best)
                row["verdict"] = standing.verdict
                row["steady"] = not standing.unstable
            else:
                row["verdict"] = "control" if driver.slug == run.control else "unranked"
            metrics = {}
            for name in METRICS:
                found = [s.metrics[name] for s in samples.values() if name in s.metrics]
                if found:
                    metrics[name] = number(float(np.median(found)))
            row["metrics"] = metrics
            rows.append(row)
    return rows


def verdict_rows(comparison: Comparison, verdicts: Sequence[use_cases.Verdict]) -> list[dict[str, Any]]:
    """One row per use case and engine class."""
    rows = []
    for verdict in verdicts:
        ranking = verdict.ranking
        rows.append({
            "use_case": verdict.use_case.key, "engine": verdict.engine, "best": ranking.best, "ties": ranking.ties,
            "runner_up": ranking.runner_up.driver if ranking.runner_up else None,
            "sure": use_cases.confidence(verdict), "weights": {w: number(share) for w, share in verdict.shares.items()},
            "set_aside": {slug: reason for slug, reason, _ in verdict.set_aside},
            "cases_counted": verdict.cells, "cases": len(ranking.cases),
            "ratio_to_best": {d: number(s.to_best.value) for d, s in ranking.standings.items() if s.to_best},
            "bytes_dev_written": {d: number(v) for d, v in use_cases.device_bytes(comparison, ranking).items()},
        })
    return rows


def document(comparison: Comparison, verdicts: Sequence[use_cases.Verdict]) -> dict[str, Any]:
    """The whole summary."""
    body = comparison.run.body
    floor = comparison.noise_floor
    return {
        "schema": "sbench.summary", "schema_version": "1.0", "run_id": body["run_id"], "seed": body["seed"],
        "profile": body["profile"], "blocks_done": body["blocks_done"], "blocks_planned": body["blocks_planned"],
        "complete": body["complete"], "inference": comparison.inference, "control": comparison.run.control,
        "noise_floor": None if floor is None else number(floor), "use_cases": verdict_rows(comparison, verdicts),
        "summary": case_rows(comparison), "skips": body["skips"], "failures": body["failures"],
        "warnings": [{"what": w.what, "remedy": w.remedy} for w in facts.warnings(comparison)],
    }


def render(comparison: Comparison, verdicts: Sequence[use_cases.Verdict]) -> str:
    """The summary as JSON text."""
    return json.dumps(document(comparison, verdicts), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
