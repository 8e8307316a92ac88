"""What the drivers of a run are ranked by: time, or, inside user-mode Linux, device bytes.

There a system call costs a hundred times what it costs the kernel it imitates, while
computation does not: seconds are an order of magnitude at best. What reaches the
device is what the same kernel code writes anywhere, within 1 to 2 %.
"""

from __future__ import annotations

from . import text
from .result_file import Run, Sample

TIME, BYTES = "time", "device bytes"
BYTES_MIN = 4096.0  # ratios need a value: less than a page counts as one


def inside(run: Run) -> bool:
    """Whether the run happened inside user-mode Linux."""
    return "guest" in run.body["environment"]["version"] or any(d.engine == "uml" for d in run.drivers.values())


def kind(run: Run) -> str:
    """TIME or BYTES."""
    return BYTES if inside(run) else TIME


def value(kind_of: str, sample: Sample) -> float:
    """Seconds, or bytes written to and read from the device; above 0."""
    if kind_of == TIME:
        return sample.seconds
    return max(sample.metrics.get("bytes_dev_written", 0.0) + sample.metrics.get("bytes_dev_read", 0.0), BYTES_MIN)


def shown(kind_of: str, amount: float) -> str:
    """An amount of it, for people."""
    return text.human_time(amount) if kind_of == TIME else text.human_bytes(amount)


def noun(run: Run) -> str:
    """'Time' or 'Device bytes', as a title begins."""
    return kind(run).capitalize()


def superlative(run: Run) -> str:
    """'Fastest' or 'Fewest device bytes'."""
    return "Fewest device bytes" if inside(run) else "Fastest"


def best_words(kind_of: str) -> str:
    """What the best of a ranking by `kind_of` is called."""
    return "the fastest" if kind_of == TIME else "the one that moves the fewest device bytes"


def distance_words(kind_of: str, ratio: float) -> str:
    """'takes 1.3× as long as the fastest', or the same of bytes."""
    return f"takes {text.ratio(ratio)}× as long as the fastest" if kind_of == TIME else f"moves {text.ratio(ratio)}× the device bytes of the best"


def magnitude(seconds: float) -> str:
    """'about 10 ms': all that a time inside user-mode Linux says."""
    power = 1e-6
    while power < 1e4 and seconds > power * 10**0.5:
        power *= 10
    return f"about {text.human_time(power)}"
