"""One module per figure. Each offers `build(comparison) -> Figure | None`; None when the run has no data for it.

A Figure carries its data as a table too: tables are what remains without matplotlib,
and what a screen reader gets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..comparison import Comparison


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


def build_all(comparison: Comparison) -> list[Figure]:
    """All figures the run has data for, in report order."""
    from . import (build_phases, first_write, harness_overhead, heat_map, layer_depth, page_cache,
                   space_per_container, start_time, triggers, write_amplification)

    modules = (heat_map, first_write, write_amplification, triggers, space_per_container, start_time, page_cache,
               build_phases, layer_depth, harness_overhead)
    figures = []
    for module in modules:
        built = module.build(comparison)
        figures.extend(built if isinstance(built, list) else [built] if built else [])
    return figures
