"""Plots as SVG, written by hand: horizontal bars with their spread, and a line to compare with."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 760, 280, 90
BAR, GAP, TOP, BOTTOM = 18, 10, 40, 30
OWN_COLOUR, PEER_COLOUR, LINE_COLOUR = "#2b6cb0", "#a0aec0", "#1a202c"


@dataclass(frozen=True, slots=True)
class Bar:
    """A label, a value, its spread, and the text behind it."""

    label: str
    value: float
    low: float
    high: float
    text: str
    is_own: bool = False


def bars(title: str, items: Sequence[Bar], line: float | None = None, line_label: str = "floor") -> str:
    """A plot of at least one bar; every bar begins at zero. line: a value that is drawn as a dashed line."""
    height = TOP + len(items) * (BAR + GAP) + BOTTOM
    scale = (WIDTH - LEFT - RIGHT) / (max(item.high for item in items) or 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    for number, item in enumerate(items):
        parts += one_bar(item, TOP + number * (BAR + GAP), scale)
    if line is not None:
        parts += dashed_line(LEFT + line * scale, height, line_label)
    return "\n".join([*parts, "</svg>\n"])


def one_bar(item: Bar, top: int, scale: float) -> list[str]:
    """Label, bar, spread and value."""
    middle = top + BAR / 2
    low, high = LEFT + item.low * scale, LEFT + item.high * scale
    colour = OWN_COLOUR if item.is_own else PEER_COLOUR
    parts = [
        f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(item.label)}</text>',
        f'<rect x="{LEFT}" y="{top}" width="{item.value * scale:.1f}" height="{BAR}" fill="{colour}"/>',
        f'<text x="{high + 6:.1f}" y="{middle + 4:.1f}">{escape(item.text)}</text>',
    ]
    if item.high > item.low:
        whiskers = f"M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 4:.1f}v8M{high:.1f} {middle - 4:.1f}v8"
        parts.append(f'<path d="{whiskers}" stroke="{LINE_COLOUR}" fill="none"/>')
    return parts


def dashed_line(position: float, height: int, label: str) -> list[str]:
    """A line across all bars, and what it stands for."""
    return [
        f'<path d="M{position:.1f} {TOP - 6}V{height - BOTTOM + 4}" stroke="{LINE_COLOUR}" stroke-dasharray="4 3"/>',
        f'<text x="{position:.1f}" y="{height - 10}" text-anchor="middle">{escape(label)}</text>',
    ]
