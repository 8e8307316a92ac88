"""What can go wrong, with the exit code each kind ends in (METHOD d.7)."""

OK = 0
ERROR = 1
USAGE = 2
SLOWER = 3
INCONCLUSIVE = 4
NOTHING = 5


class ReportError(Exception):
    """One line for the user; `code` is the program's exit code."""

    code = ERROR


class UsageError(ReportError):
    """What was asked for makes no sense; the line says what to ask instead."""

    code = USAGE


class NothingToReport(ReportError):
    """The file is sound and holds no sample."""

    code = NOTHING
