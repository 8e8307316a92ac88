"""Builds from Dockerfiles: what each step found or made, and what its parts cost; what a build shares with those before it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from statistics import median

from .. import text
from ..comparison import Comparison, usable
from ..result_file import CaseId, Sample
from . import Figure

WORKLOAD = "cache_reuse.dockerfiles"
PARTS = ("lookup", "prepare", "mount", "write", "unmount", "diff", "commit")
_STEP = re.compile(r"^(.+):(\d+)\.([a-z]+)\.([a-z]+)$")  # FILE:LINE.KEYWORD.PART, of a phase or a metric


def _steps(names: Iterable[str]) -> list[tuple[str, int, str]]:
    """The steps that `names` speak of, in the order of the Dockerfiles' lines."""
    return sorted({(m[1], int(m[2]), m[3]) for m in map(_STEP.match, names) if m})


def _seconds(samples: list[Sample], name: str) -> str:
    values = [s.phases[name]["seconds"] for s in samples if name in s.phases]
    return text.human_time(median(values)) if values else "–"


def _number(samples: list[Sample], name: str) -> float | None:
    values = [s.metrics[name] for s in samples if name in s.metrics]
    return median(values) if values else None


def _outcome(hit: float | None) -> str:
    return "–" if hit is None else "hit" if hit == 1 else "miss" if hit == 0 else "differs"


def _scenario(case: CaseId) -> str:
    return " ".join(f"{name}:{value}" for name, value in case.params)


def _each_step(comparison: Comparison) -> Figure | None:
    run = comparison.run
    rows = []
    for case in run.cases_of(WORKLOAD):
        for driver in run.shown:
            samples = list(usable(run.blocks(case, driver)).values())
            for file, line, keyword in _steps({name for s in samples for name in s.phases}):
                step = f"{file}:{line}.{keyword}"
                size = _number(samples, step + ".bytes")
                rows.append((_scenario(case), run.display(driver), f"{file}:{line}", keyword.upper(), _outcome(_number(samples, step + ".hit")),
                             *(_seconds(samples, f"{step}.{part}") for part in PARTS), "–" if size is None else text.human_bytes(size)))
    if not rows:
        return None
    missed = sum(row[4] == "miss" for row in rows)
    return Figure("build-steps", "Builds from Dockerfiles, step by step",
                  "hit: the step was found in the build cache; miss: its layer was made. Medians over the blocks; lower is better. "
                  "Times of different engine classes do not compare. Steps without hit or miss leave no layer.",
                  f"{len(rows)} rows, {missed} of them misses",
                  ("case", "driver", "step", "instruction", "cache", *PARTS, "content"), tuple(rows), None)


def _shared(comparison: Comparison) -> Figure | None:
    run = comparison.run
    rows = []
    for case in run.cases_of(WORKLOAD):
        for driver in run.shown:
            samples = list(usable(run.blocks(case, driver)).values())
            found, made, shared, new, saved = (_number(samples, name) for name in
                                               ("layers_hit", "layers_made", "bytes_shared", "bytes_made", "saved_s"))
            if found is None or made is None or shared is None or new is None:
                continue
            rows.append((_scenario(case), run.display(driver), text.trimmed(found), text.trimmed(made), text.human_bytes(shared),
                         text.human_bytes(new), "–" if saved is None else text.human_time(saved)))
    if not rows:
        return None
    return Figure("builds-shared", "What builds from Dockerfiles share",
                  "Layers and content that a build found in the cache, and what it made. pair: the applications after the first, and the time "
                  "they took less than it; touch_first, touch_last: the first again, after a file of its first or last COPY changed.",
                  "; ".join(f"{row[1]}, {row[0]}: {row[2]} found, {row[3]} made" for row in rows),
                  ("case", "driver", "layers found", "layers made", "content shared", "content made", "time saved"), tuple(rows), None)


def build(comparison: Comparison) -> list[Figure]:
    """None without cache_reuse.dockerfiles."""
    return [figure for figure in (_shared(comparison), _each_step(comparison)) if figure is not None]
