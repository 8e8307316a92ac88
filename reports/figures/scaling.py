"""Throughput against the number of workers that change files of one container at a time, with the ideal line."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId
from ..statistics import Estimate
from . import Figure, canvas, series

WORKLOAD = "copy_up.tree_append"


def cases_by_workers(comparison: Comparison) -> list[CaseId]:
    """Cases of one tree, ascending number of workers: the tree with most numbers."""
    by_tree: dict[CaseId, list[CaseId]] = {}
    for case in comparison.run.cases_of(WORKLOAD):
        if case.size("workers") and case.size("files"):
            by_tree.setdefault(case.without("workers"), []).append(case)
    chosen = max(by_tree, key=lambda tree: (len(by_tree[tree]), tree.key), default=None)
    return sorted(by_tree[chosen], key=lambda c: c.size("workers")) if chosen else []


def throughput(comparison: Comparison, case: CaseId, driver: str) -> Estimate | None:
    """Files a second."""
    e = series.seconds(comparison, case, driver)
    files = case.size("files")
    return Estimate(files / e.value, files / e.high, files / e.low, e.kind, e.n) if e else None


def efficiency(comparison: Comparison, cases: list[CaseId], driver: str) -> float | None:
    """Throughput at the last number of workers over that many times the throughput of the first."""
    first, last = throughput(comparison, cases[0], driver), throughput(comparison, cases[-1], driver)
    return last.value / first.value / (cases[-1].size("workers") / cases[0].size("workers")) if first and last else None


def _draw(comparison: Comparison, cases: list[CaseId]) -> Any:
    figure, axes = canvas.new(canvas.WIDTH_IN, 4.4)
    ax = axes[0][0]
    workers = [c.size("workers") for c in cases]
    ends, highest = [], 0.0
    for driver in comparison.run.shown:
        points = [(c.size("workers"), e) for c in cases if (e := throughput(comparison, c, driver))]
        if points:
            series.draw_line(ax, comparison, driver, points)
            share = efficiency(comparison, cases, driver)
            words = f" {share * 100:.0f} %" if share is not None else ""
            ends.append((points[-1][0], points[-1][1].value, comparison.run.display(driver) + words, canvas.styles(comparison.run)[driver].light))
            highest = max(highest, points[0][1].value)
    ax.plot(workers, [highest * w / workers[0] for w in workers], color=canvas.INK, lw=0.8, ls=(0, (1, 3)))
    ax.annotate("ideal", (workers[-1], highest * workers[-1] / workers[0]), xytext=(-4, -8), textcoords="offset points", ha="right", fontsize=8)
    ax.set(xscale="log", yscale="log", xlabel="workers", ylabel="files appended to per second (higher is better)")
    ax.set_xticks(workers, labels=[text.human_count(w) for w in workers])
    ax.minorticks_off()
    series.count_ticks(ax.yaxis)
    canvas.label_ends(ax, ends)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without at least two numbers of workers."""
    cases = cases_by_workers(comparison)
    run = comparison.run
    if len(cases) < 2:
        return None

    def cell(case: CaseId, driver: str) -> str:
        e = throughput(comparison, case, driver)
        return f"{text.human_count(e.value)}/s [{text.human_count(e.low)}–{text.human_count(e.high)}]" if e else "–"

    rows = [(text.human_count(c.size("workers")), *(cell(c, d) for d in run.shown)) for c in cases]
    shares = [efficiency(comparison, cases, d) for d in run.shown]
    rows.append(("efficiency", *(f"{share * 100:.0f} %" if share is not None else "–" for share in shares)))
    count = text.human_count(cases[-1].size("workers"))
    return Figure(
        "scaling-workers", "More workers in one container",
        f"First appends to files of the image, {text.human_count(cases[0].size('files'))} files shared out among the workers. Higher is better. "
        "Throughputs of different engine classes do not compare.",
        f"Efficiency at {count} workers: " + ", ".join(f"{run.display(d)} {cell}" for d, cell in zip(run.shown, rows[-1][1:])),
        ("workers", *(run.display(d) for d in run.shown)), tuple(rows), partial(_draw, comparison, cases),
        legend=f"The number behind a driver is its efficiency at {count} workers: 100 % would follow the ideal line.")
