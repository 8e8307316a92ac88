"""What drivers of an engine class are ranked by: time, or, inside user-mode Linux, device bytes.

There a system call costs a hundred times what it costs the kernel it imitates, while
computation does not: seconds are an order of magnitude at best. What reaches the
device is what the same kernel code writes anywhere, within 1 to 2 %.
"""

from __future__ import annotations

from . import text
from .result_file import Run, Sample

GUEST = "uml"
_BYTES_MIN = 4096.0  # ratios need a value: less than a page counts as one


def counts_bytes(engine: str) -> bool:
    """Whether the class is ranked by device bytes."""
    return engine == GUEST


def inside(run: Run) -> bool:
    """Whether the run happened inside user-mode Linux."""
    return run.engines == [GUEST]


def value(engine: str, sample: Sample) -> float:
    """Seconds, or bytes written to and read from the device; above 0."""
    if not counts_bytes(engine):
        return sample.seconds
    return max(sample.metrics.get("bytes_dev_written", 0.0) + sample.metrics.get("bytes_dev_read", 0.0), _BYTES_MIN)


def shown(engine: str, amount: float) -> str:
    """An amount of the class's measure, for people."""
    return text.human_bytes(amount) if counts_bytes(engine) else text.human_time(amount)


def noun(engine: str) -> str:
    """'Time' or 'Device bytes', as a title begins."""
    return "Device bytes" if counts_bytes(engine) else "Time"


def superlative(engine: str) -> str:
    """'Fastest' or 'Fewest device bytes'."""
    return "Fewest device bytes" if counts_bytes(engine) else "Fastest"


def magnitude(seconds: float) -> str:
    """'about 10 ms': all that a time inside user-mode Linux says."""
    power = 1e-6
    while power < 1e4 and seconds > power * 10**0.5:
        power *= 10
    return f"about {text.human_time(power)}"
