"""Where an image build spends its time: stacked bars by phase, one a driver."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import text
from ..comparison import Comparison, usable
from ..result_file import CaseId
from . import Figure, canvas

WORKLOAD = "layer_build.build"
ORDER = ("prepare", "mount", "write", "unmount", "diff", "commit", "sync")
# No driver's colours: these are phases.
_FILL = {"prepare": ("#4a5b78", ""), "mount": ("#9aa9c2", "//"), "write": ("#c59d1f", ""), "unmount": ("#e2cf8d", "\\\\"),
         "diff": ("#9b3d5a", ""), "commit": ("#d39bb0", "xx"), "sync": ("#6f8f3f", "")}


def phase_seconds(comparison: Comparison, case: CaseId, driver: str) -> dict[str, float]:
    """Phase kind → median over blocks of its seconds summed over the build's steps ("code.diff" counts as diff)."""
    sums: dict[str, list[float]] = {}
    samples = usable(comparison.run.blocks(case, driver)).values()
    for sample in samples:
        own: dict[str, float] = {}
        for name, phase in sample.phases.items():
            if phase["timed"]:
                kind = name.rpartition(".")[2]
                own[kind] = own.get(kind, 0.0) + phase["seconds"]
        for kind, seconds in own.items():
            sums.setdefault(kind, []).append(seconds)
    medians = {kind: float(np.median(values)) for kind, values in sums.items()}
    known = [kind for kind in ORDER if kind in medians]
    return {kind: medians[kind] for kind in known + sorted(set(medians) - set(known))}


def _draw(comparison: Comparison, phases: dict[str, dict[str, float]], kinds: list[str]) -> Any:
    figure, axes = canvas.new(canvas.WIDTH_IN, 1.5 + 0.34 * len(phases))
    ax = axes[0][0]
    left = np.zeros(len(phases))
    for kind in kinds:
        widths = np.array([own.get(kind, 0.0) for own in phases.values()])
        colour, hatch = _FILL.get(kind, ("#777777", "."))
        ax.barh(range(len(phases)), widths, left=left, color=colour, hatch=hatch, edgecolor="#ffffff", lw=0.4, height=0.68, label=kind)
        left += widths
    for y, total in enumerate(left):
        ax.annotate(text.human_time(float(total)), (total, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5)
    ax.set_ylim(len(phases) - 0.4, -0.6)
    ax.set_yticks(range(len(phases)), labels=[comparison.run.display(d) for d in phases])
    ax.set_xlim(0, float(left.max()) * 1.12)
    ax.set_xlabel("seconds, medians over blocks (lower is better)")
    ax.grid(False, axis="y")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncol=len(kinds), handlelength=1.2, columnspacing=1.2, borderaxespad=0.2)
    return figure


def build(comparison: Comparison) -> Figure | None:
    """None without layer_build.build."""
    run = comparison.run
    cases = run.cases_of(WORKLOAD)
    if not cases:
        return None
    case = cases[0]
    phases = {d: own for d in run.shown if (own := phase_seconds(comparison, case, d))}
    kinds = [k for k in ORDER if any(k in own for own in phases.values())]
    kinds += sorted({k for own in phases.values() for k in own} - set(kinds))
    if not kinds:
        return None
    rows = tuple((run.display(d), *(text.human_time(own[k]) if k in own else "–" for k in kinds), text.human_time(sum(own.values())))
                 for d, own in phases.items())
    return Figure(
        "build-phases", "Where an image build spends its time",
        f"A Dockerfile's steps on a pulled base ({case.key}): prepare and mount the layer, write, unmount, pack the difference, commit. "
        "Lower is better. Times of different engine classes do not compare.",
        "Totals: " + ", ".join(f"{row[0]} {row[-1]}" for row in rows),
        ("driver", *kinds, "total"), rows, partial(_draw, comparison, phases, kinds))
