"""Records sittings for the selftest with the real `sbench run`: back to back, each on freshly formatted stores.

A sitting is treated as the gate treats a night: suspects among its series are measured
again at once, and the rerun is kept with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ReportError
from ..history import night as night_module
from ..history.night import Night
from ..result_file import load
from . import confirm

SEED = 20261126  # the same content every night: what is drawn from the seed would be noise
KIND = "selftest"


@dataclass(frozen=True)
class Subset:
    """What a sitting measures: operations short enough to be repeated within a block (layer_build.diff) for their times, one copy-up for its bytes."""

    drivers: tuple[str, ...]
    filter: str
    blocks: int
    budget_s: int  # of all sittings together, unless the user says otherwise


NIGHTLY = Subset(("overlay2", "overlay2:backing=xfs"),
                 "layer_build.diff/[^/]*/files:(500|2500)/changed:10$|first_write/overlay2/size:64m/touched:4k/depth:1/cache:warm", 13, 2 * 3600)
SHORT = replace(NIGHTLY, drivers=("overlay2",), blocks=7, budget_s=12 * 60)
SLOWED = "layer_build.diff/overlay2/files:500/changed:10"
# (what, how many nights in a row): 2 % of 64 MiB are 1316 KiB.
INJECTIONS = ((f"{SLOWED}=slow:20%", 1), ("first_write/overlay2/size:64m.*=write:1316K", 1), (f"{SLOWED}=slow:10%", 3))


def sitting(subset: Subset, image_dir: str, inject: str = "") -> Night:
    """One sitting. Raises ReportError where `sbench run` fails."""
    program = os.environ.get("SBENCH_PROGRAM")
    if not program:
        raise ReportError("recording needs the sbench program: run sbench selftest, or name it in SBENCH_PROGRAM")
    with tempfile.TemporaryDirectory(prefix="sbench-selftest-") as folder:
        output = Path(folder) / "run"
        argv = [program, "run", "--filter", subset.filter, "--profile", "quick", "--blocks", str(subset.blocks), "--seed", str(SEED), "--kind", KIND,
                "--image-dir", image_dir, "--output", str(output), "--progress", "none"]
        for driver in subset.drivers:
            argv += ["--driver", driver]
        if inject:
            argv += ["--inject", inject]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=confirm.without_pictures(), check=False)
        if not (output / "result.json").exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ReportError(f"a sitting failed: {last[0]}")
        return night_module.from_run(load(output))


@dataclass
class Recorder:
    """Fills `nights`, of which some may be there already; `keep` is called after each, so that a killed recording is not lost.

    `budget_s` bounds the whole: sittings without injection stop early enough for those with it, which
    are taken to last as long as those before. What runs at the end of the time is finished.
    """

    nights: list[Night]
    sit: Callable[[str], Night]  # what is injected → the sitting
    keep: Callable[[Sequence[Night]], None]
    budget_s: float
    clock: Callable[[], float] = time.monotonic
    again: Callable[[Sequence[Night]], tuple[Night | None, str]] = lambda nights: confirm.rerun(nights, [])
    taken: int = 0

    def record(self, sittings: int, injections: bool) -> None:
        """Takes what is missing of `sittings`, then of the injected ones."""
        begun = self.clock()
        still = max(0, sittings - sum(not n.injected for n in self.nights))
        slowed = [what for what, times in INJECTIONS if injections for _ in range(times - sum(n.injected == what for n in self.nights))]

        def fits(count: int) -> bool:
            spent = self.clock() - begun
            return spent + (count * spent / self.taken if self.taken else 0) <= self.budget_s

        for number in range(1, still + 1):
            if not fits(1 + len(slowed)):
                _say(f"the time is nearly used up: {still - number + 1} sittings are left out" + (", the slowed ones follow" if slowed else ""))
                break
            _say(f"[{number}/{still + len(slowed)}] sitting")
            self._one("")
        for number, inject in enumerate(slowed, still + 1):
            if not fits(1):
                _say(f"the time is used up: {still + len(slowed) - number + 1} slowed sittings are left out")
                break
            _say(f"[{number}/{still + len(slowed)}] slowed down: {inject}")
            self._one(inject)

    def _one(self, inject: str) -> None:
        night = self.sit(inject)
        before = [n for n in self.nights if not n.injected or n.injected == inject]
        rerun, why_not = self.again([*before, night])
        if rerun:
            night.confirmations.append(rerun)
        elif why_not:
            _say(f"suspects were not measured again: {why_not}")
        self.nights.append(night)
        self.taken += 1
        self.keep(self.nights)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
