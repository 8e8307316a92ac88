"""Time of one container start against the number of containers started from the image."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId
from ..statistics import Estimate
from . import Figure, canvas, series

WORKLOAD = "cache_reuse.containers"


def image_slice(comparison: Comparison) -> list[CaseId]:
    """Cases of one image size, ascending number of containers: the image with most numbers, smallest first."""
    by_image: dict[str, list[CaseId]] = {}
    for case in comparison.run.cases_of(WORKLOAD):
        if case.size("containers"):
            by_image.setdefault(case.param("image") or "", []).append(case)
    chosen = max(sorted(by_image), key=lambda image: (len(by_image[image]), image == "small"), default=None)
    return sorted(by_image[chosen], key=lambda c: c.size("containers")) if chosen is not None else []


def _per_start(comparison: Comparison, case: CaseId, driver: str) -> Estimate | None:
    e = series.seconds(comparison, case, driver)
    n = case.size("containers")
    return Estimate(e.value / n, e.low / n, e.high / n, e.kind, e.n) if e else None


def draw_against_containers(comparison: Comparison, cases: list[CaseId], value: Any, label: str, ticks: Any) -> Any:
    """Lines of `value(case, driver)` over the number of containers, log-log; a bar figure when there is one number only."""
    figure, axes = canvas.new(canvas.WIDTH_IN, 4.4)
    ax = axes[0][0]
    ax.set(xscale="log", yscale="log", xlabel="containers started from one image", ylabel=label)
    ends = []
    for driver in comparison.run.shown:
        points = [(c.size("containers"), e) for c in cases if (e := value(c, driver)) and e.value > 0]
        if points:
            series.draw_line(ax, comparison, driver, points)
            ends.append((points[-1][0], points[-1][1].value, comparison.run.display(driver),
                         canvas.styles(comparison.run)[driver].light))
    counts = [c.size("containers") for c in cases]
    ax.set_xticks(counts, labels=[text.human_count(n) for n in counts])
    ax.minorticks_off()
    ax.set_xlim(min(counts) / 1.15, max(counts) * 1.15)
    ticks(ax.yaxis)
    canvas.label_ends(ax, ends)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without cache_reuse.containers."""
    cases = image_slice(comparison)
    run = comparison.run
    if not cases:
        return None

    def value(case: CaseId, driver: str) -> Estimate | None:
        return _per_start(comparison, case, driver)

    rows = tuple((text.human_count(c.size("containers")),
                  *(f"{text.human_time(e.value)} [{text.human_time(e.low)}–{text.human_time(e.high)}]" if (e := value(c, d)) else "–"
                    for d in run.shown)) for c in cases)
    image = cases[0].param("image")
    return Figure(
        "start-time", "Start time against the number of containers",
        "One start is: make the writable layer, mount it, read what the application reads when it comes up. "
        f"Mean time of a start; caches are empty before the first one{f'; {image} image' if image else ''}. Lower is better.",
        f"Mean start time at {rows[-1][0]} containers: " + ", ".join(f"{run.display(d)} {v}" for d, v in zip(run.shown, rows[-1][1:])),
        ("containers", *(run.display(d) for d in run.shown)), rows,
        partial(draw_against_containers, comparison, cases, value, "mean time of a start (lower is better)", series.time_ticks))
