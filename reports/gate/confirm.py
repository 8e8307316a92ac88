"""Measures suspects again, tonight: their cells and the control's, fresh blocks on freshly formatted stores (METHOD d.2, step 2)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..history import night as night_module
from ..history.night import CONFIRMS, Night
from ..result_file import load
from .replay import CONTROL_SECONDS_MIN, Replay, control_levels, measure, replay, unfit


def suspects(before: Replay, night: Night) -> list[str]:
    """Series of `night` to measure again, as the rule sees them after the nights `before`."""
    measured = {name: m.reading for name, m in measure(night, dict(before.levels)).items()}
    return [] if unfit(night, before.usual_pressure) else before.panel.suspects(measured, control_levels(night))


def command(program: str, night: Night, series: Sequence[str], output: str) -> list[str] | None:
    """`sbench run` with the options of the night's own run, for `series` and the control; None where the run did not keep them."""
    request = night.facts.get("request")
    if not request:
        return None
    cells = {c.series: c for c in night.cells}
    wanted = [cells[name] for name in series if name in cells]
    cases = {c.case for c in wanted}
    control = [c for c in night.cells if c.driver == night.control and (c.case in cases or float(np.median(c.seconds)) >= CONTROL_SECONDS_MIN)]
    pattern = "^(" + "|".join(re.escape(c.series.lower()).replace("\\-", "-") for c in [*wanted, *control]) + ")$"
    labels = {d["slug"]: d["label"] for d in night.facts["drivers"]}
    argv = [program, "run", "--filter", pattern, "--profile", request["profile"], "--blocks", str(night.facts["blocks_planned"]), "--seed", str(request["seed"]),
            "--kind", CONFIRMS + night.run_id, "--output", output, "--progress", "none"]
    for driver in dict.fromkeys(c.driver for c in wanted):
        argv += ["--driver", labels[driver]]
    for option in request["storage_opts"]:
        argv += ["--storage-opt", option]
    argv += ["--device", request["device"], "--wipe", "--yes"] if request["device"] else ["--image-dir", request["image_dir"], "--image-size", request["image_size"]]
    if request.get("in", "host") != "host":
        argv += ["--in", request["in"]]
    if request.get("inject"):
        argv += ["--inject", request["inject"]]
    return argv


def without_pictures() -> dict[str, str]:
    """The environment for an `sbench run` of which only the result is wanted: drawing would keep the machine busy for longer than the measuring."""
    return os.environ | {"SBENCH_PYTHON": "/bin/true"}


def rerun(nights: Sequence[Night], decisions: Sequence) -> tuple[Night | None, str]:
    """Measures the newest night's suspects again: (the rerun or None, why not or "")."""
    newest = nights[-1]
    if newest.confirmations:
        return None, ""
    series = suspects(replay(nights[:-1], decisions), newest)
    if not series:
        return None, ""
    program = os.environ.get("SBENCH_PROGRAM")
    if not program:
        return None, "SBENCH_PROGRAM does not say which sbench to run"
    with tempfile.TemporaryDirectory(prefix="sbench-confirm-") as folder:
        argv = command(program, newest, series, str(Path(folder) / "run"))
        if argv is None:
            return None, "the night's result does not say how it was run"
        print(f"measuring {len(series)} suspect{'s' if len(series) > 1 else ''} again: {', '.join(series)}", file=sys.stderr, flush=True)
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=without_pictures(), check=False)
        result = Path(folder) / "run" / "result.json"
        if not result.exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            return None, f"the rerun failed: {last[0]}"
        return night_module.from_run(load(result)), ""
