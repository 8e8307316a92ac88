"""Several systems side by side: who wins where, ratios to native by driver and system, and what differs between them.

Only ratios to the control of the same blocks are drawn: seconds of different machines
say nothing about drivers. A driver that ran in another engine class somewhere is left out there;
one that ran inside user-mode Linux is compared by device bytes, with others that did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import likeness, measure, text, use_cases
from ..comparison import Ranking, Standing
from ..run_set import Member, RunSet
from . import Figure, canvas

COLOUR_MAX = 8.0
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SYSTEMS_MAX = len(_LETTERS)


@dataclass(frozen=True)
class _Panel:
    """A driver of one engine class, measured one way: what may stand side by side."""

    slug: str
    engine: str
    measured: str  # measure.TIME or measure.BYTES

    @property
    def name(self) -> str:
        return f"{self.slug} ({self.engine}" + ("" if self.measured == measure.TIME else f", {self.measured}") + ")"


def _standing(member: Member, panel: _Panel, key: str) -> Standing | None:
    ranking: Ranking | None = member.comparison.by_group.get(panel.engine, {}).get(key)
    standing = ranking.standings.get(panel.slug) if ranking else None
    return standing if standing and standing.to_control and standing.measured == panel.measured else None


def _panels(members: Sequence[Member]) -> list[_Panel]:
    """Of drivers that at least two systems ranked in one class and by the same measure."""
    counts: dict[_Panel, int] = {}
    for member in members:
        for slug in member.run.ranked:
            panel = _Panel(slug, member.run.drivers[slug].engine, measure.kind(member.run))
            counts[panel] = counts.get(panel, 0) + 1
    return [panel for panel, count in counts.items() if count > 1]


def _keys(run_set: RunSet, members: Sequence[Member]) -> list[str]:
    """Rows that all systems have, of workloads whose version is the same in all."""
    groups = [{g.key: {c.key for c in g.cases} for g in m.comparison.groups} for m in members]
    return [key for key in groups[0] if key.split()[0] in run_set.likeness.workloads and all(g.get(key) == groups[0][key] for g in groups)]


def _label(members: Sequence[Member], panel: _Panel) -> str:
    member = next(m for m in members if panel.slug in m.run.drivers)
    remarks = [panel.engine] * (panel.engine != "kernel") + [panel.measured] * (panel.measured != measure.TIME)
    return member.run.label(panel.slug) + (f"\n[{', '.join(remarks)}]" if remarks else "")


def _draw(members: Sequence[Member], panels: Sequence[_Panel], keys: Sequence[str]) -> Any:
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    from .heat_map import ink_on, wrap_label

    figure, axes = canvas.new(canvas.WIDTH_IN, 1.5 + 0.3 * len(keys), 1, len(panels), sharey=True)
    colours = mpl.colormaps["cividis"]
    narrow = len(panels) * len(members) > 20
    for ax, panel in zip(axes[0], panels):
        for x, member in enumerate(members):
            for y, key in enumerate(keys):
                standing = _standing(member, panel, key)
                if standing is None:
                    ax.text(x + 0.5, y + 0.5, "–", ha="center", va="center")
                    continue
                ratio = standing.to_control.value
                shade = colours(min(math.log(max(ratio, 1.0)) / math.log(COLOUR_MAX), 1.0))
                ax.add_patch(Rectangle((x + 0.02, y + 0.04), 0.96, 0.92, facecolor=shade, lw=0))
                ax.text(x + 0.5, y + 0.5, text.ratio(ratio), ha="center", va="center", color=ink_on(shade), fontsize=6 if narrow else 8)
        ax.set(xlim=(0, len(members)), ylim=(len(keys), 0))
        ax.set_title(wrap_label(_label(members, panel), 10), fontsize=8)
        ax.set_xticks([x + 0.5 for x in range(len(members))], labels=list(_LETTERS[: len(members)]), fontsize=7)
        ax.tick_params(length=0)
        ax.grid(False)
        for side in ax.spines.values():
            side.set_visible(False)
    axes[0][0].set_yticks([y + 0.5 for y in range(len(keys))], labels=keys)
    return figure


def _heat_map(run_set: RunSet, members: Sequence[Member], names: Sequence[str]) -> Figure | None:
    panels, keys = _panels(members), _keys(run_set, members)
    if not panels or not keys:
        return None
    rows = []
    for key in keys:
        for panel in panels:
            cells = []
            for member in members:
                s = _standing(member, panel, key)
                cells.append(f"{text.ratio(s.to_control.value)} [{text.ratio(s.to_control.low)}–{text.ratio(s.to_control.high)}]" if s else "–")
            rows.append((key, panel.name, *cells))
    systems = "; ".join(f"{letter}: {name}" for letter, name in zip(_LETTERS, names))
    kinds = {panel.measured for panel in panels}
    what = measure.TIME.capitalize() if kinds == {measure.TIME} else "Device bytes" if kinds == {measure.BYTES} else "Time (where marked so: device bytes)"
    equal = "as fast as" if kinds == {measure.TIME} else "the same as" if kinds != {measure.BYTES} else "as many as"
    return Figure(
        "across-systems", "The same drivers on each system",
        f"{what} as a ratio to native on the same system (1.00 = {equal} a plain directory). Lower is better. {systems}.",
        "Columns: " + systems, ("cases", "driver", *names), tuple(rows), partial(_draw, members, panels, keys),
        tuple(run_set.likeness.cautions), "Dark: near native; light: 8 times and more.")


def _winners(members: Sequence[Member], names: Sequence[str], chosen: Sequence[use_cases.UseCase]) -> Figure:
    rows: dict[tuple[str, str], list[str]] = {}
    for index, member in enumerate(members):
        for verdict in use_cases.verdicts(member.comparison, chosen):
            ranking = verdict.ranking
            words = "not measured"
            if ranking.best:
                ties = [member.run.label(d) for d in ranking.ties]
                words = member.run.label(ranking.best) + (f" (tied: {', '.join(ties)})" if ties else "")
                words += "" if measure.kind(member.run) == measure.TIME else ", by device bytes"
                words += "" if ranking.inference or ranking.standings[ranking.best].verdict == "only" else ", no inference"
            cells = rows.setdefault((verdict.use_case.title, verdict.engine), ["not measured"] * len(members))
            cells[index] = words
    inside = [measure.inside(member.run) for member in members]
    best = "Driver with the fewest device bytes" if all(inside) else "Fastest driver (inside user-mode Linux: the one with the fewest device bytes)" if any(inside) else "Fastest driver"
    return Figure("winners-by-system", "Which driver wins on which system",
                  f"{best} for each use on each system, within its engine class.",
                  "One row per use and engine class, one column per system.", ("use", "engines", *names),
                  tuple((*key, *cells) for key, cells in rows.items()), None, prose=True)


def _environment(run_set: RunSet, members: Sequence[Member], names: Sequence[str]) -> Figure | None:
    found = likeness.differences([m.run for m in members])
    if not found:
        return None
    return Figure("environment-differences", "What differs between the runs",
                  "Facts of machine (identity), software (version), condition (state) and run that are not the same in all; everything else is equal.",
                  f"{len(found)} facts differ.", ("tier", "what", *names), tuple(likeness.rows(found)), None, prose=True)


def build(run_set: RunSet, chosen: Sequence[use_cases.UseCase]) -> list[Figure]:
    """Winners, ratios and differences of the systems; only differences for several runs of one system; nothing for one run."""
    systems = run_set.latest_by_system[:SYSTEMS_MAX]
    if len(systems) > 1:
        names = run_set.names(systems)
        built = [_winners(systems, names, chosen), _heat_map(run_set, systems, names), _environment(run_set, systems, names)]
    elif len(run_set.members) > 1:
        built = [_environment(run_set, run_set.members, run_set.names(run_set.members))]
    else:
        built = []
    return [figure for figure in built if figure]
