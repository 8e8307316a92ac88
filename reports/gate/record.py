"""Records sittings for the selftest with the real `sbench run`: back to back, each on freshly formatted stores."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import ReportError
from ..history import night as night_module
from ..history.night import Night
from ..result_file import load

SEED = 20261126  # the same content every night: what is drawn from the seed would be noise


@dataclass(frozen=True)
class Subset:
    """What a sitting measures. Cases of a millisecond or so are the steadiest on a loaded machine: they fit a time slice."""

    drivers: tuple[str, ...]
    filter: str
    blocks: int


NIGHTLY = Subset(("overlay2", "overlay2:backing=xfs"),
                 "layer_build.diff/[^/]*/files:(500|2500)/changed:10$|first_write/overlay2/size:64m/touched:4k/depth:1/cache:warm", 13)
SHORT = Subset(("overlay2",), "layer_build.diff/[^/]*/files:500/changed:10$|first_write/overlay2/size:64m/touched:4k/depth:1/cache:warm", 6)
SLOWED = "layer_build.diff/overlay2/files:500/changed:10"
INJECTIONS = ((f"{SLOWED}=slow:20%", 1), (f"{SLOWED}=slow:10%", 3), ("first_write/overlay2/size:64m.*=write:1316K", 1))  # 2 % of 64 MiB


def sitting(subset: Subset, image_dir: str, inject: str = "") -> Night:
    """One sitting. Raises ReportError where `sbench run` fails."""
    program = os.environ.get("SBENCH_PROGRAM")
    if not program:
        raise ReportError("recording needs the sbench program: run sbench selftest, or name it in SBENCH_PROGRAM")
    with tempfile.TemporaryDirectory(prefix="sbench-selftest-") as folder:
        output = Path(folder) / "run"
        argv = [program, "run", "--filter", subset.filter, "--profile", "quick", "--blocks", str(subset.blocks), "--seed", str(SEED), "--kind", "selftest",
                "--image-dir", image_dir, "--output", str(output), "--progress", "none"]
        for driver in subset.drivers:
            argv += ["--driver", driver]
        if inject:
            argv += ["--inject", inject]
        # Only the result is wanted: the pictures of every sitting would keep the machine busy for longer than the sitting.
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                              env=os.environ | {"SBENCH_PYTHON": "/bin/true"}, check=False)
        if not (output / "result.json").exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise ReportError(f"a sitting failed: {last[0]}")
        return night_module.from_run(load(output))


def record(subset: Subset, count: int, image_dir: str, injections: bool) -> list[Night]:
    """`count` sittings, then those slowed down on purpose."""
    found = []
    plan = [""] * count + [text for text, times in INJECTIONS if injections for _ in range(times)]
    for number, inject in enumerate(plan, 1):
        print(f"[{number}/{len(plan)}] {'sitting' if not inject else 'slowed down: ' + inject}", file=sys.stderr, flush=True)
        found.append(sitting(subset, image_dir, inject))
    return found
