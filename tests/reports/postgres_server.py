"""A real PostgreSQL server of Debian's package, in a folder of its own, on a socket only."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def programs() -> Path | None:
    """The folder of the newest initdb and pg_ctl; None where the package is missing."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]) if p.parts[-3].isdigit() else 0)
    return found[-1].parent if found else None


def missing() -> str:
    """Why no server can run here; "" when one can."""
    if programs() is None:
        return "postgresql is not installed"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "there is no user postgres to run the server as"
    try:
        import psycopg2  # noqa: F401
    except ImportError:
        return "python3-psycopg2 is not installed"
    return ""


def _run(*argv: object) -> None:
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*as_user, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]}: {done.stdout}")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """URL of an empty database on a server that ends with the block."""
    tools = programs()
    folder = Path(tempfile.mkdtemp(prefix="sbench-pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        data = folder / "data"
        _run(tools / "initdb", "-D", data, "-A", "trust", "-U", "sbench", "--no-sync", "-E", "UTF8", "--locale=C")
        _run(tools / "pg_ctl", "-D", data, "-w", "-t", "30", "-l", folder / "log", "-o", f"-c listen_addresses='' -c fsync=off -k {folder}", "start")
        try:
            _run(tools / "createdb", "-h", folder, "-U", "sbench", "history")
            yield f"postgresql://sbench@/history?host={folder}"
        finally:
            _run(tools / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
