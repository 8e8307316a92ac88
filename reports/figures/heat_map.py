"""Heat map: groups of cases × drivers, time as a ratio to the best driver of the row.

Colour is logarithmic from 1× to 8× (cividis), so one extreme driver does not wash
out the rest; every cell says its ratio and interval. Ties with the best are
outlined; drivers that cannot run here are hatched, their reason stands in the notes.
One figure per engine class: times are never compared across classes.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from .. import measure, text
from ..comparison import Comparison, Ranking, Standing
from ..text import plain
from . import Figure, canvas

COLOUR_MAX = 8.0
_SCALE_ROWS_MIN = 4  # fewer rows need no colour scale
_NARROW = 0.4  # width of an unavailable driver's column


def wrap_label(label: str, width: int) -> str:
    """Breaks a driver label after ':', ',' and '=' into lines of at most `width` where it can."""
    lines, line = [], ""
    for piece in label.replace(":", ":\n").replace(",", ",\n").replace("=", "=\n").split("\n"):
        if line and len(line) + len(piece) > width:
            lines.append(line)
            line = ""
        line += piece
    return "\n".join([*lines, line])


def interval_words(comparison: Comparison) -> str:
    """What the brackets mean in this run."""
    return "95 % intervals" if comparison.inference else "range over the blocks, no inference"


def cell_text(standing: Standing, best: str | None) -> str:
    """A cell for the table: '1.35 [1.31–1.40] ='."""
    if standing.to_best is None:
        return f"– ({standing.reason})"
    marks = {"best": " *", "tie": " =", "only": ""}.get(standing.verdict, "") + (" ~" if standing.unstable else "")
    if standing.driver == best:
        return f"1.00{marks}"
    e = standing.to_best
    return f"{text.ratio(e.value)} [{text.ratio(e.low)}–{text.ratio(e.high)}]{marks}"


def unavailable(comparison: Comparison) -> list[tuple[str, str]]:
    """(driver, reason) of drivers that were asked for and could not run, and of those that failed the check."""
    rows = [(plain(skip["driver"]), skip["detail"]) for skip in comparison.run.body["skips"] if not skip.get("cell")]
    rows += [(d.label, "failed the semantic check, not ranked") for d in comparison.run.failed_check]
    return rows


def ink_on(rgba: tuple[float, ...]) -> str:
    """Black or white, whichever is readable on `rgba`."""
    return "#000001" if 0.299 * rgba[0] + 0.587 * rgba[1] + 0.114 * rgba[2] > 0.5 else "#ffffff"


def _draw(comparison: Comparison, engine: str, rankings: dict[str, Ranking], absent: list[tuple[str, str]]) -> Any:
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    drivers = comparison.run.ranked_in(engine)
    columns = len(drivers)
    end = columns + _NARROW * len(absent)
    small = columns > 8
    figure, axes = canvas.new(canvas.WIDTH_IN, 1.3 + 0.42 * max(len(rankings), 2))
    ax = axes[0][0]
    colours = mpl.colormaps["cividis"]
    for y, ranking in enumerate(rankings.values()):
        for x, driver in enumerate(drivers):
            standing = ranking.standings[driver]
            if standing.to_best is None:
                ax.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, facecolor="none", edgecolor=canvas.GRID, hatch="...", lw=0))
                ax.text(x + 0.5, y + 0.5, "–", ha="center", va="center")
                continue
            e = standing.to_best
            shade = colours(min(math.log(max(e.value, 1.0)) / math.log(COLOUR_MAX), 1.0))
            ax.add_patch(Rectangle((x + 0.02, y + 0.03), 0.96, 0.94, facecolor=shade, lw=0))
            if standing.verdict in ("best", "tie", "only"):
                ax.add_patch(Rectangle((x + 0.055, y + 0.085), 0.89, 0.83, facecolor="none", lw=1.6, edgecolor="#ffffff",
                                       ls="-" if standing.verdict != "tie" else (0, (3, 1.5))))
            ink = ink_on(shade)
            mark = " ~" if standing.unstable else ""
            if driver == ranking.best:
                word = "best" if standing.verdict == "best" else "only one"
                ax.text(x + 0.5, y + 0.5, word + mark, ha="center", va="center", color=ink, weight="bold")
                continue
            ax.text(x + 0.5, y + 0.34, f"{text.ratio(e.value)}×{mark}", ha="center", va="center", color=ink, weight="bold")
            ax.text(x + 0.5, y + 0.71, f"{text.ratio(e.low)}–{text.ratio(e.high)}", ha="center", va="center",
                    color=ink, fontsize=6 if small else 7)
    for index, (driver, _) in enumerate(absent):
        x = columns + _NARROW * index
        ax.add_patch(Rectangle((x + 0.04, 0.05), _NARROW - 0.08, len(rankings) - 0.1, facecolor="none", edgecolor=canvas.GRID,
                               hatch="///", lw=0))
        words = f"{driver}: not available" if len(rankings) > 7 else driver if len(rankings) > 3 else "–"
        ax.text(x + _NARROW / 2, len(rankings) / 2, words, rotation=90, ha="center", va="center")
    ax.set(xlim=(0, end), ylim=(len(rankings), 0))
    ax.set_xticks([x + 0.5 for x in range(columns)],
                  labels=[wrap_label(comparison.run.label(d), 12) for d in drivers],
                  fontsize=7.5 if small else 9)
    labels = [f"{key}  ({len(r.common)})" if len(r.cases) > 1 else key for key, r in rankings.items()]
    ax.set_yticks([y + 0.5 for y in range(len(rankings))], labels=labels)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    if len(rankings) < _SCALE_ROWS_MIN:
        return figure
    scale = mpl.cm.ScalarMappable(mpl.colors.LogNorm(1, COLOUR_MAX), colours)
    bar = figure.colorbar(scale, ax=ax, orientation="horizontal", fraction=0.03, pad=0.02, aspect=60, shrink=0.6)
    bar.set_ticks([1, 2, 4, 8], labels=["1× best", "2×", "4×", "8× and slower"])
    bar.minorticks_off()
    bar.outline.set_visible(False)
    return figure


def _figure(comparison: Comparison, engine: str, rankings: dict[str, Ranking]) -> Figure:
    drivers = comparison.run.ranked_in(engine)
    first = engine == comparison.run.engines[0]
    absent = unavailable(comparison) if first else []
    names = [comparison.run.label(d) for d in drivers]
    rows = tuple((key, f"{len(r.common)} of {len(r.cases)}", *(cell_text(r.standings[d], r.best) for d in drivers))
                 for key, r in rankings.items())
    wins = {d: sum(d in r.winners for r in rankings.values()) for d in drivers}
    alt = "Rows in which a driver is best or tied with the best: " + ", ".join(
        f"{comparison.run.label(d)} {n} of {len(rankings)}" for d, n in wins.items())
    notes = [f"{driver}: not available: {reason}" for driver, reason in absent]
    notes += [f"{comparison.run.label(d)} copies the whole image whenever a container is made: fast where that happened before the time began (copy_up, persistence)"
              for d in drivers if comparison.run.drivers[d].copies_at_prepare]
    return Figure(
        f"heat-map-{engine}", f"{measure.noun(comparison.run)} relative to the best driver ({engine} engines)",
        f"Each row has its own best driver (*); 2.00× means twice its {measure.noun(comparison.run).lower()}, = cannot be told from the best, ~ is unsteady (own blocks "
        f"differ by more than 10 %). Lower is better. Intervals: {interval_words(comparison)}.",
        alt, ("cases", "counted", *names), rows,
        partial(_draw, comparison, engine, rankings, absent), tuple(notes),
        "Solid frame: best; dashed frame: tie. The number behind a row's name counts the cases in its geometric mean.", engine=engine)


def build(comparison: Comparison) -> list[Figure]:
    """One heat map per engine class."""
    return [_figure(comparison, engine, rankings) for engine, rankings in comparison.by_group.items() if rankings]
