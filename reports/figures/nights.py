"""Trend over the nights of a history, as the gate sees it: what moved first, then the least steady; and what each series can detect."""

from __future__ import annotations

from functools import partial
from typing import Any

from .. import likeness, text
from ..run_set import RunSet
from . import Figure

PANELS_MAX = 8
_URGENCY = ("regressed", "suspect", "improved", "warned")


def _order(row: dict[str, Any]) -> tuple:
    """Alarms first, then series whose level changed, then the rest by how little they can detect."""
    urgency = _URGENCY.index(row["status"]) if row["status"] in _URGENCY else len(_URGENCY)
    return (urgency, not row["changes"], -(row["detectable"] or 0.0), row["series"])


def build(run_set: RunSet, history_name: str) -> list[Figure]:
    """The newest run's machine in that history; nothing where it has no night. Raises ReportError for a bad history."""
    from ..gate.replay import newest_stream, replay
    from ..history import trend
    from ..history.store import History

    newest = run_set.newest.run
    with History.open(history_name) as history:
        nights = newest_stream(history.nights(likeness.machine(newest)))
        trends = trend.trends(replay(nights, history.acks())) if nights else []
    if not trends:
        return []
    ordered = sorted(((trend.row(t), t) for t in trends), key=lambda pair: _order(pair[0]))
    shown = [t for _, t in ordered[:PANELS_MAX]]
    moved = sum(bool(row["changes"]) for row, _ in ordered)

    def changes(row: dict[str, Any]) -> str:
        return "; ".join(f"{c['night'][:10]}: {c['from']} → {c['to']}" for c in row["changes"]) or "–"

    rows = tuple((row["series"], row["engine"], row["status"], row["level"], "–" if row["detectable"] is None else text.percent(row["detectable"]),
                  str(row["nights"]), changes(row)) for row, _ in ordered)
    return [Figure(
        "trend", "Over the nights",
        f"{len(nights)} nights of suite {nights[-1].suite} on this machine; times at the speed native had in the same blocks, so that a slow machine cancels, or, of operations of a few milliseconds where that is steadier, of the fastest block. Lower is better. "
        f"Shown: the {len(shown)} series of {len(ordered)} that moved or waver most.",
        f"{moved} of {len(ordered)} series changed their level",
        ("series", "engine", "state", "level", "detects", "nights", "changes"), rows, partial(trend.draw, shown, newest.control),
        legend=trend.LEGEND, prose=True)]
