"""matplotlib, set up once: deterministic SVG, colours that follow the page's theme.

Colours are drawn as fixed hexadecimal values and, for inlining, replaced by CSS
variables: INK becomes currentColor, GRID var(--grid), a driver's colour its own
variable with a lighter value in the dark theme. Drivers keep colour, marker and
line style in all figures.
"""

from __future__ import annotations

import colorsys
import io
import re
import zlib
from dataclasses import dataclass
from typing import Any

from ..result_file import Run
from ..text import plain

INK = "#15181e"
GRID = "#c9ced6"
WIDTH_IN = 10.0

_BASE = {"native": "#6b7280", "overlay2": "#0067a5", "overlay": "#7d3fb5", "btrfs": "#00805c", "vfs": "#c24a00",
         "devicemapper": "#8a6d00", "zfs": "#b0306f", "aufs": "#4f6b00", "fuse-overlayfs": "#00737d", "null": "#6b7280"}
_VARIANTS = {"overlay2": ("#0067a5", "#2e9ad8", "#27307f", "#5d7f9e", "#0a8c99", "#6a6fd1")}
_SPARE = ("#9a3412", "#3f4fbf", "#0f766e", "#a21caf", "#65780a", "#b45309")
_MARKERS = {"native": "x", "overlay2": "o", "overlay": "s", "btrfs": "^", "vfs": "D", "devicemapper": "v", "zfs": "P",
            "aufs": "p", "fuse-overlayfs": "h"}
_LINES = ("-", (0, (5, 1.6)), (0, (1.4, 1.4)), (0, (6, 1.5, 1.4, 1.5)), (0, (2.5, 1)), (0, (8, 2)))


def available() -> bool:
    """Whether figures can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


@dataclass(frozen=True)
class Style:
    """How a driver looks: `light` and `dark` are #rrggbb."""

    light: str
    dark: str
    marker: str
    line: Any
    hollow: bool


def _shifted(colour: str, turn: float, lightness: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    light = min(max(light + lightness, 0.0), 0.85)
    parts = colorsys.hls_to_rgb((hue + turn) % 1, light, saturation)
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)


def styles(run: Run) -> dict[str, Style]:
    """Slug → Style. Variants of one driver share the marker and differ in hue, line and filling."""
    seen: dict[str, int] = {}
    result: dict[str, Style] = {}
    taken: set[str] = set()
    for driver in sorted(run.drivers.values(), key=lambda d: d.slug):  # the same colours whatever order was asked for
        variant = seen.get(driver.name, 0)
        seen[driver.name] = variant + 1
        base = _BASE.get(driver.name) or _SPARE[zlib.crc32(driver.name.encode()) % len(_SPARE)]
        fixed = _VARIANTS.get(driver.name, ())
        colour = fixed[variant] if variant < len(fixed) else _shifted(base, (-1) ** variant * 0.055 * ((variant + 1) // 2), 0.0)
        while colour in taken:  # colours identify drivers, also after replacement in the SVG
            colour = _shifted(colour, 0.01, 0.013)
        taken.add(colour)
        result[driver.slug] = Style(colour, _shifted(colour, 0, 0.28), _MARKERS.get(driver.name, "*"),
                                    _LINES[variant % len(_LINES)], variant % 2 == 1)
    return result


def new(width_in: float, height_in: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Any, Any]:
    """A matplotlib figure and its axes, always a 2-d array."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "sbench", "font.family": "DejaVu Sans", "font.size": 9,
        "axes.edgecolor": GRID, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.6,
        "legend.frameon": False, "path.simplify": False, "hatch.linewidth": 0.7, "figure.max_open_warning": 0,
        "xtick.minor.size": 0, "ytick.minor.size": 0,
    })
    figure, axes = plt.subplots(rows, columns, figsize=(width_in, height_in), squeeze=False, layout="constrained", **kwargs)
    return figure, axes


def settle(figure: Any, caption: str = "") -> None:
    """Writes `caption` small above the figure and computes the layout once; savefig need not do it again."""
    if caption and figure.get_constrained_layout():
        figure.suptitle(caption, x=0.995, ha="right", fontsize=7, weight="normal")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def close(figure: Any) -> None:
    """Frees a drawn figure."""
    import matplotlib.pyplot as plt

    plt.close(figure)


def svg_file(figure: Any) -> str:
    """A stand-alone SVG on white."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    return buffer.getvalue()


def png_file(figure: Any) -> bytes:
    """A PNG on white, 2 pixels a CSS pixel."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None}, facecolor="white")
    return buffer.getvalue()


def inline_svg(figure: Any, slug: str, title: str, description: str, run: Run) -> str:
    """SVG for the page: no prolog, own ids, theme colours, title and description for screen readers."""
    from html import escape

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<defs>\s*<style type=\"text/css\">.*?</style>\s*</defs>\s*", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{slug}-\1"', svg)
    svg = re.sub(r'(xlink:href="|href="|url\()#', rf"\1#{slug}-", svg)
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    for index, style in enumerate(styles(run).values()):
        svg = svg.replace(style.light, f"var(--d{index})")
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" xmlns="http://www.w3.org/2000/svg" '
                 r'xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
                 rf'aria-labelledby="{slug}-t {slug}-d">' + "\n"
                 + f'<title id="{slug}-t">{escape(plain(title))}</title>'.replace("\\", r"\\")
                 + f'<desc id="{slug}-d">{escape(plain(description))}</desc>'.replace("\\", r"\\"), svg, count=1)
    return svg.strip()


def theme_css(run: Run) -> tuple[str, str]:
    """Declarations of the drivers' colours: (light, dark)."""
    all_styles = list(styles(run).values())
    light = "".join(f"--d{i}:{style.light};" for i, style in enumerate(all_styles))
    dark = "".join(f"--d{i}:{style.dark};" for i, style in enumerate(all_styles))
    return light, dark


def label_ends(axes: Any, ends: list[tuple[float, float, str, str]], log: bool = True, gap_pt: float = 10.5) -> None:
    """Writes a label right of each line's last point (x, y, text, colour), pushed apart vertically."""
    axes.figure.canvas.draw()
    per_point = axes.figure.dpi / 72
    placed = sorted(((float(axes.transData.transform((x, y))[1]) / per_point, x, y, label, colour)
                     for x, y, label, colour in ends), key=lambda row: (row[0], row[3]))
    heights = [row[0] for row in placed]
    for _ in range(60):  # relax: neighbours push each other apart by half the overlap
        moved = False
        for i in range(1, len(heights)):
            overlap = gap_pt - (heights[i] - heights[i - 1])
            if overlap > 0.01:
                heights[i - 1] -= overlap / 2
                heights[i] += overlap / 2
                moved = True
        if not moved:
            break
    for height, (origin, x, y, label, colour) in zip(heights, placed):
        shift = height - origin
        axes.annotate(label, (x, y), xytext=(14, shift), textcoords="offset points", va="center", fontsize=8.5,
                      color=colour, annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)})
