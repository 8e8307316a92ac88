"""Numbers and system strings as text: units, ratios, escaping for each output.

Sizes are binary (KiB, MiB), times are chosen among ns, µs, ms and s. Strings that
came from the measured system pass `plain` before a terminal and `markdown` before
Markdown; Jinja2 escapes for HTML.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_TIME_UNITS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
_DURATION = re.compile(r"^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?$")
_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$", re.IGNORECASE)


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits and no exponent below a million: 0.0123, 1.35, 164."""
    if value == 0:
        return "0"
    if abs(value) >= 10**digits:
        return f"{value:.0f}"
    return f"{value:#.{digits}g}".rstrip(".") if abs(value) >= 1e-4 else f"{value:.1e}"


def trimmed(value: float) -> str:
    """Shortest form of three significant digits: 4, 1.5, 16.2."""
    text = significant(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def human_bytes(value: float) -> str:
    """`value` bytes as '64.1 MiB'."""
    size, unit = abs(float(value)), 0
    while size >= 1023.5 and unit < len(_BYTE_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    sign = "-" if value < 0 else ""
    return f"{sign}{size:.0f} B" if unit == 0 else f"{sign}{trimmed(size)} {_BYTE_UNITS[unit]}"


def human_time(seconds: float) -> str:
    """`seconds` as '41.8 ms'."""
    if seconds == 0:
        return "0 s"
    scale, unit = _TIME_UNITS[0]
    for candidate, name in _TIME_UNITS:
        if abs(seconds) >= candidate * 0.9995:
            scale, unit = candidate, name
    return f"{significant(seconds / scale)} {unit}"


def parse_duration(words: str) -> int | None:
    """Seconds of '90s', '10m' or '1h30m', as `sbench run --budget` takes them; None for anything else."""
    found = _DURATION.match(words) if words else None
    return sum(int(number or 0) * unit for number, unit in zip(found.groups(), (3600, 60, 1))) if found else None


def percent(fraction: float) -> str:
    """A fraction as '2.1 %', '48 %', 'over 100 %'."""
    if fraction > 1:
        return "over 100 %"
    return f"{fraction * 100:.1f} %" if fraction < 0.1 else f"{fraction * 100:.0f} %"


def human_count(value: float) -> str:
    """A count that may be a mean: 12, 0.5, 16 384 (narrow no-break spaces)."""
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    return trimmed(value)


def ratio(value: float) -> str:
    """A ratio as 1.35, 12.3, 164, 3700."""
    if value >= 99.5:
        return f"{float(f'{value:.3g}'):.0f}"
    return f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def parse_size(text: str) -> float | None:
    """Bytes of '64K', '1m', '4096'; None when it is no size."""
    match = _SIZE.match(text.strip())
    if not match:
        return None
    return float(match.group(1)) * 1024 ** " kmgt".index(match.group(2).lower() or " ")


def natural_key(text: str) -> tuple:
    """Sort key that puts 64K before 1M and 8 before 32; words after numbers."""
    size = parse_size(text)
    return (1, 0.0, text) if size is None else (0, size, text)


def plain(text: object) -> str:
    """`text` without control characters, for a terminal: no escape sequence of a file name gets through."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in str(text))


def markdown(text: object) -> str:
    """`text` with Markdown and HTML disarmed, fit for a table cell."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", plain(text).replace("&", "&amp;"))


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A plain table: left-aligned columns two blanks apart, the last one ragged."""
    lines = [tuple(plain(cell) for cell in line) for line in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines)
