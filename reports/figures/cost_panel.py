"""What each driver costs besides time: device bytes, space, CPU and memory side by side, a bar per driver.

Counts compare across engine classes; CPU seconds are those of sbench and its helpers,
so what the kernel does on threads of its own is not in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import text
from ..comparison import Comparison
from ..result_file import CaseId, Sample
from . import Figure, canvas, space_per_container

PULL = "layer_build.pull"
GIB = 2**30


@dataclass(frozen=True)
class Panel:
    """One quantity. `parts` are (label, value of a sample or None); several parts are stacked."""

    title: str
    case: CaseId
    parts: tuple[tuple[str, Callable[[Sample], float | None]], ...]
    words: Callable[[float], str]


def _metric(name: str) -> Callable[[Sample], float | None]:
    return lambda sample: sample.metrics.get(name)


def _per_gib(name: str) -> Callable[[Sample], float | None]:
    def value(sample: Sample) -> float | None:
        written = sample.metrics.get("bytes_app_written")
        return sample.metrics[name] / (written / GIB) if written and name in sample.metrics else None

    return value


def _amplification(sample: Sample) -> float | None:
    written = sample.metrics.get("bytes_app_written")
    return sample.metrics["bytes_dev_written"] / written if written and "bytes_dev_written" in sample.metrics else None


def panels(comparison: Comparison) -> list[Panel]:
    """Quantities this run has."""
    found = []
    pulls = comparison.run.cases_of(PULL)
    if pulls:
        pull = pulls[-1]
        found += [Panel("device bytes\nper byte of a\npulled image", pull, (("", _amplification),), lambda v: f"{text.trimmed(v)}×"),
                  Panel("space of the\npulled image", pull, (("", _metric("space_growth_bytes")),), text.human_bytes),
                  Panel("CPU per GiB\npulled\n(user + system)", pull, (("user", _per_gib("cpu_user_s")), ("system", _per_gib("cpu_sys_s"))), text.human_time)]
    many = space_per_container.biggest_case(comparison)
    if many:
        n = text.human_count(many.size("containers"))
        found += [Panel(f"space per\ncontainer\n({n} of one image)", many, (("", _metric("space_bytes_per_container")),), text.human_bytes),
                  Panel(f"page cache per\ncontainer\n({n} of one image)", many, (("", _metric("page_cache_bytes_per_container")),), text.human_bytes),
                  Panel(f"memory of the\ndriver's servers\n({n} of one image)", many, (("", _metric("helpers_rss_peak_bytes")),), text.human_bytes)]
    return [p for p in found if any(sum(_value(comparison, p, d) or (0,)) > 0 for d in comparison.run.shown)]


def _value(comparison: Comparison, panel: Panel, driver: str) -> tuple[float, ...] | None:
    """Median over blocks of each part, at least 0; None when a part is missing."""
    samples = comparison.run.blocks(panel.case, driver).values()
    values = []
    for _, of in panel.parts:
        found = [v for s in samples if (v := of(s)) is not None]
        if not found:
            return None
        values.append(max(float(np.median(found)), 0.0))
    return tuple(values)


def _draw(comparison: Comparison, shown: list[Panel]) -> Any:
    drivers = comparison.run.shown
    looks = canvas.styles(comparison.run)
    figure, axes = canvas.new(canvas.WIDTH_IN, 1.0 + 0.27 * len(drivers), 1, len(shown), sharey=True)
    for ax, panel in zip(axes[0], shown):
        values = {d: _value(comparison, panel, d) for d in drivers}
        highest = max((sum(v) for v in values.values() if v), default=1.0) or 1.0
        for y, driver in enumerate(drivers):
            left = 0.0
            for index, part in enumerate(values[driver] or ()):
                ax.barh(y, part, left=left, height=0.66, color=looks[driver].light, alpha=0.45 if driver == comparison.run.control else 0.9,
                        hatch="////" if index else None, edgecolor="#ffffff", lw=0)
                left += part
            label = panel.words(left) if values[driver] else "–"
            ax.annotate(label, (left, y), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7.5)
        ax.set_xlim(0, highest * 1.55)
        ax.set_title(panel.title, fontsize=8)
        ax.set_xticks([])
        ax.grid(False)
        ax.tick_params(axis="y", length=0)
        ax.spines["bottom"].set_visible(False)
    axes[0][0].set_ylim(len(drivers) - 0.4, -0.6)
    axes[0][0].set_yticks(range(len(drivers)), labels=[comparison.run.display(d) for d in drivers])
    figure.supxlabel("lower is better; each column has its own scale", fontsize=9, color=canvas.INK)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None when the run neither pulled an image nor started containers."""
    shown = panels(comparison)
    run = comparison.run
    if not shown:
        return None

    def words(panel: Panel, driver: str) -> str:
        value = _value(comparison, panel, driver)
        if value is None:
            return "–"
        total = panel.words(sum(value))
        return total if len(value) == 1 else f"{total} ({', '.join(f'{name} {panel.words(v)}' for (name, _), v in zip(panel.parts, value))})"

    titles = [panel.title.replace("\n", " ") for panel in shown]
    rows = tuple((run.display(d), *(words(p, d) for p in shown)) for d in run.shown)
    least = []
    for index, panel in enumerate(shown):
        values = {d: sum(v) for d in run.ranked if (v := _value(comparison, panel, d))}
        if values:
            best = min(values, key=lambda d: (values[d], d))
            least.append(f"{titles[index]}: least {run.display(best)} with {panel.words(values[best])}")
    return Figure(
        "cost", "What each driver costs",
        "Bytes, space, CPU and memory. Lower is better. Comparable across engine classes, CPU time excepted.",
        "; ".join(least), ("driver", *titles), rows, partial(_draw, comparison, shown),
        legend="Hatched: system time. Medians over blocks.")
