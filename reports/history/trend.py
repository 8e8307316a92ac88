"""Series over the nights: level, change points, smallest detectable effect; as rows and as a picture.

Change points split a series where two medians fit it best, again and again, as long as the
halves differ by more than both the noise between nights and the gate's smallest effect. A
segment has at least five nights, so a single spike is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import text
from ..gate.replay import Replay
from ..gate.rule import MAD_TO_SIGMA, PAIRED, RULE, Outcome, change_point

SEGMENT_MIN = 5
SIGNIFICANCE = 4.0  # standard errors of the difference of two medians: many places are tried
_VERSIONS_SHOWN = 4


@dataclass
class Trend:
    """One timed series over the nights that have it."""

    series: str
    engine: str
    nights: list[str]  # dates
    values: list[float]  # ln seconds at the machine's reference speed
    low: list[float]
    high: list[float]
    outcomes: list[Outcome]
    breaks: list[int]  # indices at which a new level begins
    versions: list[tuple[int, str]]  # (index, what changed) since the night before
    acknowledged: list[int]

    @property
    def segments(self) -> list[tuple[int, int]]:
        edges = [0, *self.breaks, len(self.values)]
        return list(zip(edges, edges[1:]))

    def level(self, segment: tuple[int, int]) -> float:
        """Median seconds of a segment."""
        return math.exp(float(np.median(self.values[segment[0]:segment[1]])))


def change_points(values: Sequence[float], least: int = SEGMENT_MIN) -> list[int]:
    """Indices at which a new level begins, in order."""
    data = np.asarray(values, float)
    if len(data) < 2 * least:
        return []
    at = change_point(data, least)
    left, right = data[:at], data[at:]
    residuals = np.concatenate([left - np.median(left), right - np.median(right)])
    noise = max(MAD_TO_SIGMA * float(np.median(np.abs(residuals))), RULE.floor)
    step = abs(float(np.median(right) - np.median(left)))
    if step < max(SIGNIFICANCE * 1.2533 * noise * math.sqrt(1 / len(left) + 1 / len(right)), math.log1p(RULE.effect)):
        return []
    return [*change_points(left, least), at, *(at + i for i in change_points(right, least))]


def trends(replayed: Replay) -> list[Trend]:
    """Every timed series, in the order of its name."""
    found = []
    for series, cell in sorted(replayed.cells.items()):
        judged = [j for j in replayed.nights if series in j.measured]
        measured = [j.measured[series] for j in judged]
        view = replayed.panel.series[series].agreed(RULE.window)[0]
        values = [m.reading.at(view) for m in measured]
        widths = [m.width if view == PAIRED else 0.0 for m in measured]  # the fastest block has no interval
        valid = [i for i, j in enumerate(judged) if not j.invalid]
        breaks = [valid[i] for i in change_points([values[i] for i in valid])]
        versions = [(i, ", ".join(d.name for d in j.changed if d.tier == "version")) for i, j in enumerate(judged)
                    if any(d.tier == "version" for d in j.changed)]
        found.append(Trend(series, cell.engine, [j.night.date for j in judged], values, [v - w for v, w in zip(values, widths)], [v + w for v, w in zip(values, widths)],
                           [j.timed[series] for j in judged], breaks, versions, [i for i, j in enumerate(judged) if j.decisions]))
    return found


def row(trend: Trend) -> dict[str, Any]:
    """What a table says of a series: status of the newest night, level, smallest detectable effect, changes of level."""
    last = trend.outcomes[-1]
    segments = trend.segments
    changes = [{"night": trend.nights[after[0]], "from": text.human_time(trend.level(before)), "to": text.human_time(trend.level(after)),
                "ratio": trend.level(after) / trend.level(before)} for before, after in zip(segments, segments[1:])]
    return {"series": trend.series, "engine": trend.engine, "status": last.status, "level": text.human_time(trend.level(segments[-1])),
            "detectable": last.baseline.detectable if last.baseline else None, "nights": len(trend.values), "changes": changes}


LEGEND = "Grey band: the baseline; filled: confirmed alarm; hollow: suspect; cross: night not counted; dotted lines: a version changed."


def _panel(ax: Any, trend: Trend) -> None:
    from ..figures import canvas

    x = np.arange(1, len(trend.values) + 1)
    usual = trend.level(trend.segments[0])
    ratio = [math.exp(v) / usual for v in trend.values]
    ax.vlines(x, [math.exp(v) / usual for v in trend.low], [math.exp(v) / usual for v in trend.high], color=canvas.GRID, lw=1)
    banded = [(i, o.baseline) for i, o in enumerate(trend.outcomes) if o.baseline]
    if banded:
        ax.fill_between([x[i] for i, _ in banded], [math.exp(b.centre - 3 * b.scale) / usual for _, b in banded],
                        [math.exp(b.centre + 3 * b.scale) / usual for _, b in banded], color=canvas.GRID, alpha=0.35, lw=0)
    looks = {"regressed": ("o", "#b91c1c", "#b91c1c"), "suspect": ("o", "none", "#b45309"), "invalid": ("x", canvas.INK, canvas.INK), "shifted": ("x", canvas.INK, canvas.INK)}
    for i, (at, value, outcome) in enumerate(zip(x, ratio, trend.outcomes)):
        marker, face, edge = looks.get(outcome.status, (".", "#0067a5", "#0067a5"))
        ax.plot([at], [value], marker=marker, ls="", ms=5 if marker != "." else 6, mfc=face, mec=edge, zorder=3)
    for segment in trend.segments:
        ax.plot([x[segment[0]] - 0.4, x[segment[1] - 1] + 0.4], [trend.level(segment) / usual] * 2, color=canvas.INK, lw=1)
    for before, after in zip(trend.segments, trend.segments[1:]):
        share = trend.level(after) / trend.level(before) - 1
        ax.annotate(f"{'+' if share > 0 else '−'}{abs(share) * 100:.0f} %", (x[after[0]], trend.level(after) / usual), xytext=(0, 6), textcoords="offset points", fontsize=8)
    for i, _ in trend.versions[-_VERSIONS_SHOWN:]:
        ax.axvline(x[i] - 0.5, color=canvas.INK, lw=0.8, ls=(0, (1, 2)))
    for i in trend.acknowledged:
        ax.annotate("ack", (x[i], ax.get_ylim()[0]), fontsize=7, ha="center")
    reach = max(0.08, float(np.max(np.abs(np.array(ratio) - 1))) * 1.15)
    ax.set_ylim(max(1 - reach, 0), 1 + reach)
    ax.set_title(trend.series, fontsize=8)
    ax.set_ylabel(f"× {text.human_time(usual)}", fontsize=8)


def draw(shown: Sequence[Trend], control: str) -> Any:
    """Small multiples, two a row; lower is better."""
    from ..figures import canvas

    columns = 2 if len(shown) > 1 else 1
    rows = -(-len(shown) // columns)
    figure, axes = canvas.new(canvas.WIDTH_IN, 0.5 + 1.7 * rows, rows, columns)
    for ax, trend in zip(axes.flat, shown):
        _panel(ax, trend)
    for ax in list(axes.flat)[len(shown):]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel(f"night; lower is better, {control} in the same blocks cancels the machine", fontsize=8)
    return figure


def autocorrelation(values: Sequence[float]) -> float:
    """Of neighbouring nights, robust to outliers: the rank correlation."""
    if len(values) < 4:
        return 0.0
    ranks = np.argsort(np.argsort(values)).astype(float)
    return float(np.corrcoef(ranks[:-1], ranks[1:])[0, 1])


