"""What can go wrong, with the exit code each kind ends in."""

OK = 0
ERROR = 1
USAGE = 2
NOTHING = 5


class ReportError(Exception):
    """One line for the user; `code` is the program's exit code."""

    code = ERROR


class NothingToReport(ReportError):
    """The file is sound and holds no sample."""

    code = NOTHING
