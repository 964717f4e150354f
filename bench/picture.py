"""Pictures for docs/performance.md: horizontal bars as SVG, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

WIDTH, LABELS, ROW, TOP = 720, 230, 26, 40


def bars(title: str, values: Mapping[str, Mapping[str, float]], *, digits: int = 2) -> str:
    """One bar for each name, as long as its `median`, with a line from `low` to `high`."""
    most = max(value["high"] for value in values.values()) or 1.0
    scale = (WIDTH - LABELS - 90) / most
    parts = [f'<text x="0" y="20" font-weight="bold">{escape(title)}</text>']
    for number, (name, value) in enumerate(values.items()):
        y = TOP + number * ROW
        low, median, high = (LABELS + value[part] * scale for part in ("low", "median", "high"))
        parts += [
            f'<text x="{LABELS - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LABELS}" y="{y}" width="{median - LABELS:.1f}" height="18"'
            ' fill="#4c86c6"/>',
            f'<path d="M{low:.1f} {y + 9}H{high:.1f}" stroke="#c0504d" stroke-width="2"/>',
            f'<text x="{high + 8:.1f}" y="{y + 13}">{value["median"]:.{digits}f}</text>',
        ]
    height = TOP + len(values) * ROW + 4
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="13" fill="#777">'
        + "".join(f"\n  {part}" for part in parts)
        + "\n</svg>\n"
    )
