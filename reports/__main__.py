"""`python3 -m reports COMMAND …`: results on stdout, messages on stderr.

Exit codes: 0 ok, 1 error, 2 usage, 3 slower, 4 inconclusive, 5 nothing to report.
"""

from __future__ import annotations

import argparse
import os
import sys

from . import commands, errors
from .errors import ReportError


def main(argv: list[str] | None = None) -> int:
    """Exit code of the command; argparse exits with 2 on usage errors."""
    parser = argparse.ArgumentParser(prog="sbench", description="Reports of stored sbench results.")
    commands.add_all(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    arguments = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except ReportError as error:
        print(f"sbench: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.OK
    except OSError as error:
        print(f"sbench: cannot write the report: {error}", file=sys.stderr)
        return errors.ERROR


if __name__ == "__main__":
    sys.exit(main())
