"""One module per figure. Each offers `build(comparison) -> Figure | None` (or a list); None when the run has no data for it.
Those of several runs take a RunSet instead.

A Figure carries its data as a table too: tables are what remains without matplotlib,
and what a screen reader gets.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import measure
from ..comparison import Comparison
from ..run_set import RunSet
from ..use_cases import UseCase


@dataclass(frozen=True)
class Figure:
    """`slug` names the files; `draw()` returns a matplotlib Figure; `rows` are display text."""

    slug: str
    title: str
    lead: str  # what it shows and which direction is better
    alt: str  # what it says, for who cannot see it
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    draw: Callable[[], Any] | None
    notes: tuple[str, ...] = field(default=())
    legend: str = ""  # how to read the picture; not shown where there is only the table
    prose: bool = False  # the table's cells are words, not numbers
    engine: str = ""  # the one engine class it shows; "" for all of the run


# In the order of METHOD e.2.
_OF_ONE_RUN = ("heat_map", "forest", "latency", "first_write", "cost_panel", "write_amplification", "triggers",
               "space_per_container", "page_cache", "start_time", "scaling", "layer_depth", "population", "neighbours",
               "build_phases", "build_steps", "stability", "harness_overhead", "magnitudes")
# Pictures of nothing but times: not drawn for a run inside user-mode Linux, where magnitudes.py stands for them.
_OF_TIMES = ("latency", "first_write", "start_time", "scaling", "layer_depth", "population", "neighbours", "build_phases", "build_steps",
             "stability", "harness_overhead")


def _listed(built: list[Figure] | Figure | None) -> list[Figure]:
    return built if isinstance(built, list) else [built] if built else []


def of_one_run(comparison: Comparison) -> list[Figure]:
    """All figures a single run has data for, in report order."""
    names = [name for name in _OF_ONE_RUN if not (measure.inside(comparison.run) and name in _OF_TIMES)]
    modules = (importlib.import_module(f".{name}", __name__) for name in names)
    return [figure for module in modules for figure in _listed(module.build(comparison))]


def of_several_runs(run_set: RunSet, use_cases: Sequence[UseCase]) -> list[Figure]:
    """What takes all runs together: published figures, the machine's quality, and systems side by side."""
    from . import across, across_classes, published, quality

    return published.build(run_set) + _listed(quality.build(run_set)) + across_classes.build(run_set) + across.build(run_set, use_cases)


def of_nights(run_set: RunSet, history: str) -> list[Figure]:
    """The trend of the newest run's machine over the nights of a history."""
    from . import nights

    return nights.build(run_set, history)
