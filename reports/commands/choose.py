"""`sbench choose`: which driver for which use, here or on a distribution. Exit codes 0, 2, 5 (no data)."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from .. import errors
from . import add_one

_COLUMNS = ("distribution", "kernel", "root file system", "engine's default", "overlay", "btrfs", "zfs", "dm-thin", "aufs")


def _distros(form: str) -> int:
    from .. import choose, distributions, markdown, text

    known = distributions.load()
    rows = [(d.key, d.kernel, d.root_fs, d.engine_default, *d.facilities.values()) for d in known]
    if form == "json":
        print(json.dumps([choose.distribution_document(d) for d in known], indent=1))
    elif form == "markdown":
        print(markdown.grid(_COLUMNS, rows, numbers=False))
        print("\n" + "\n".join(f"- {text.markdown(d.title)}: {text.markdown(source)}" for d in known for source in d.sources))
    else:
        for d in known:
            print(f"{d.key}: {d.title}\n  kernel {d.kernel}; root file system {d.root_fs}; engine's default {d.engine_default}")
            print("  " + ", ".join(f"{name} {state}" for name, state in d.facilities.items()))
            print("\n".join(f"  source {source}" for source in d.sources))
    return errors.OK


def _comparison(arguments: argparse.Namespace) -> Any:
    """The newest run that was named, or the newest in a history; None where there is none."""
    from .. import run_set
    from ..comparison import Comparison
    from ..history import store

    if arguments.result:
        return run_set.load(arguments.result).newest.comparison
    name = arguments.history or store.default_name()
    if not arguments.history and "://" not in name and not os.path.exists(name):
        return None
    with store.History.open(name) as history:
        nights = [n for n in history.nights() if not n.injected]
    return Comparison(nights[-1].as_run()) if nights else None


def _choose(arguments: argparse.Namespace) -> int:
    from .. import choose, distributions, use_cases

    if arguments.distros:
        return _distros(arguments.format)
    distribution = distributions.find(arguments.distro) if arguments.distro else None
    chosen = choose.pick(use_cases.load(Path(arguments.use_cases)) if arguments.use_cases else use_cases.load(), arguments.use)
    comparison = _comparison(arguments)
    if comparison is None:
        if distribution:
            print(f"{distribution.title}: kernel {distribution.kernel}, root file system {distribution.root_fs}, engine's default {distribution.engine_default}")
        raise errors.NothingToReport("no data: nothing was measured; sbench run --all, then name its folder here, or --history")
    choice = choose.choose(comparison, chosen, distribution)
    sys.stdout.write(json.dumps(choose.document(choice), indent=1) + "\n" if arguments.format == "json" else
                     choose.as_markdown(choice) if arguments.format == "markdown" else choose.as_text(choice))
    return errors.NOTHING if choice.silent else errors.OK


def add(commands: Any) -> None:
    """choose."""
    parser = add_one(commands, "choose", "which driver for which use, here or on a distribution", _choose)
    parser.add_argument("result", nargs="*", metavar="RESULT")
    parser.add_argument("--history", metavar="DB")
    parser.add_argument("--use", metavar="NAME", help="only this use case")
    parser.add_argument("--distro", metavar="NAME", help="what this distribution ships decides what can run")
    parser.add_argument("--use-cases", metavar="FILE")
    parser.add_argument("--distros", action="store_true", help="show the table of distributions, and end")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
