"""Puts the repository's root and this folder on the path, and offers the stored results."""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("MPLCONFIGDIR", "/tmp/sbench-mpl")

import synthetic_result  # noqa: E402

REAL = Path(__file__).parent / "data" / "real_smoke_3_blocks.json"
ALL = tuple(driver[0] for driver in synthetic_result.DRIVERS)


class Done:
    """What a command left behind."""

    def __init__(self, returncode: int, stdout: str, stderr: str) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr


def run_reports(*arguments: object, **environment: str) -> Done:
    """`python3 -m reports …`, in this process and with nothing but its own streams and environment."""
    from reports.__main__ import main

    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    with mock.patch.dict(os.environ, clean | environment, clear=True), contextlib.redirect_stdout(streams[0]), \
            contextlib.redirect_stderr(streams[1]):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    for stream in streams:
        stream.flush()
    return Done(code, *(stream.buffer.getvalue().decode() for stream in streams))


def run_program(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """The same in a process of its own."""
    return subprocess.run([sys.executable, "-m", "reports", *map(str, arguments)], capture_output=True, text=True, timeout=180,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | environment, check=False)


def stored(path: Path, document: object) -> Path:
    """Writes a document as JSON and returns its path."""
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def real() -> Path:
    """A real run (smoke profile, 3 blocks, busy 2-core machine), reduced to some cases."""
    return REAL


@pytest.fixture(scope="session")
def nine(tmp_path_factory) -> Path:
    """Synthetic: nine blocks, little noise, kernel drivers."""
    return stored(tmp_path_factory.mktemp("nine") / "result.json", synthetic_result.make())


@pytest.fixture(scope="session")
def everything(tmp_path_factory) -> Path:
    """Synthetic: five blocks, all drivers and both engine classes."""
    return stored(tmp_path_factory.mktemp("all") / "result.json", synthetic_result.make(drivers=ALL, blocks=5, noise=0.05))
