"""Forest plot: time as a ratio to native with its interval, a dot per driver, a panel per row of the heat map.

Significance is read here: an interval that does not touch the line differs from
native, two intervals apart from each other differ. All panels share one logarithmic
axis; what lies beyond it stands at its edge with an arrow and its number.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import measure, text
from ..comparison import Comparison, Ranking
from ..statistics import EQUIVALENCE
from . import Figure, canvas
from .heat_map import interval_words

LOW, HIGH = 0.4, 8.0
_COLUMNS = 4


def _dot(ax: Any, y: int, e: Any, style: canvas.Style) -> None:
    clipped = min(max(e.value, LOW * 1.04), HIGH / 1.04)
    if clipped == e.value:
        low, high = max(e.low, LOW), min(e.high, HIGH)
        ax.plot([low, high], [y, y], color=style.light, lw=2.2, alpha=0.55, solid_capstyle="butt")
        ax.plot([e.value], [y], color=style.light, marker=style.marker, ms=4.6, mew=1.1, mfc="none" if style.hollow else style.light, ls="")
        return
    ax.plot([clipped], [y], color=style.light, marker=">" if e.value > 1 else "<", ms=5, ls="")
    ax.annotate(f"{text.ratio(e.value)}×", (clipped, y), xytext=(-6 if e.value > 1 else 6, 0), textcoords="offset points",
                ha="right" if e.value > 1 else "left", va="center", fontsize=7)


def _draw(comparison: Comparison, drivers: list[str], rankings: dict[str, Ranking], noun: str) -> Any:
    looks = canvas.styles(comparison.run)
    rows = -(-len(rankings) // _COLUMNS)
    figure, axes = canvas.new(canvas.WIDTH_IN, 0.5 + rows * (0.55 + 0.165 * len(drivers)), rows, min(_COLUMNS, len(rankings)),
                              sharex=True, sharey=True)
    flat = [ax for line in axes for ax in line]
    for ax in flat[len(rankings):]:
        ax.set_visible(False)
    for ax, (key, ranking) in zip(flat, rankings.items()):
        ax.axvspan(1 - EQUIVALENCE, 1 + EQUIVALENCE, color=canvas.GRID, alpha=0.6, lw=0)
        ax.axvline(1, color=canvas.INK, lw=0.8)
        for y, driver in enumerate(drivers):
            e = ranking.standings[driver].to_control
            if e:
                _dot(ax, y, e, looks[driver])
        ax.set(xscale="log", xlim=(LOW, HIGH), ylim=(len(drivers) - 0.4, -0.6))
        ax.set_title(key, fontsize=8)
        ax.set_xticks([0.5, 1, 2, 4, 8], labels=["½", "1", "2", "4", "8"])
        ax.minorticks_off()
        ax.tick_params(axis="y", length=0)
        ax.set_yticks(range(len(drivers)), labels=[comparison.run.label(d) for d in drivers], fontsize=7.5)
    figure.supxlabel(f"{noun.lower()} relative to native (logarithmic; lower is better)", fontsize=9, color=canvas.INK)
    return figure


def _figure(comparison: Comparison, engine: str, rankings: dict[str, Ranking]) -> Figure | None:
    rankings = {k: r for k, r in rankings.items() if any(s.to_control for s in r.standings.values())}
    drivers = [d for d in comparison.run.ranked_in(engine) if any(r.standings[d].to_control for r in rankings.values())]
    if not rankings or not drivers:
        return None

    def words(standing: Any) -> str:
        e = standing.to_control
        return f"{text.ratio(e.value)} [{text.ratio(e.low)}–{text.ratio(e.high)}]" if e else "–"

    slower = {d: sum(bool(e) and e.low > 1 + EQUIVALENCE for r in rankings.values() for e in [r.standings[d].to_control]) for d in drivers}
    return Figure(
        f"forest-{engine}", f"Cost against a plain directory ({engine} engines)",
        f"{measure.noun(comparison.run)} as a ratio to native, the control that ran in the same blocks. Lower is better. Intervals: {interval_words(comparison)}.",
        "Rows in which the whole interval lies above native: " + ", ".join(f"{comparison.run.label(d)} {n} of {len(rankings)}" for d, n in slower.items()),
        ("cases", *(comparison.run.label(d) for d in drivers)),
        tuple((key, *(words(r.standings[d]) for d in drivers)) for key, r in rankings.items()),
        partial(_draw, comparison, drivers, rankings, measure.noun(comparison.run)),
        legend="An interval clear of the line differs from native; the grey band counts as equal. Arrows point to values beyond the axis.", engine=engine)


def build(comparison: Comparison) -> list[Figure]:
    """One forest plot per engine class; none where no control ran."""
    built = [_figure(comparison, engine, rankings) for engine, rankings in comparison.by_group.items()]
    return [figure for figure in built if figure]
