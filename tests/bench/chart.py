# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same as a picture: a panel a work, a bar a contestant, as long as its median, with a line from minimum to maximum. Each panel has its own scale."""

from xml.sax.saxutils import escape

from table import count
from works import WORKS

WIDTH, LABEL, VALUE, BAR, GAP, TITLE, MARGIN = 760, 130, 90, 16, 5, 26, 14
OURS, TWO, ONE = "#1f6feb", "#8b949e", "#d0d7de"


def colour(contestant):
    return OURS if contestant["name"] == "blockstore" else TWO if contestant["hops"] == 2 else ONE


def panel(work, contestants, rows, top):
    scale = (WIDTH - LABEL - VALUE - 2 * MARGIN) / max(rows[c["name"]]["iops"]["max"] for c in contestants)
    left, parts = MARGIN + LABEL, [f'<text x="{MARGIN}" y="{top + 16}" class="t">{escape(work.title)}</text>']
    for i, contestant in enumerate(contestants):
        iops = rows[contestant["name"]]["iops"]
        y, middle = top + TITLE + i * (BAR + GAP), top + TITLE + i * (BAR + GAP) + BAR / 2
        length, low, high = (iops[key] * scale for key in ("median", "min", "max"))
        parts += [
            f'<text x="{left - 8}" y="{middle + 4}" text-anchor="end">{escape(contestant["name"])}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour(contestant)}"/>',
            f'<path d="M{left + low:.1f} {middle}H{left + high:.1f}" stroke="#57606a"/>',
            f'<text x="{left + max(length, high) + 6:.1f}" y="{middle + 4}">{count(iops["median"])}</text>',
        ]
    return parts


def svg(result):
    contestants = result["contestants"]
    rows = {}
    for row in result["summary"]:
        rows.setdefault(row["work"], {})[row["contestant"]] = row
    works = [work for work in WORKS if work.name in rows]
    height_each = TITLE + len(contestants) * (BAR + GAP) + MARGIN
    height = MARGIN + 20 + len(works) * height_each
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        "<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->",
        "<style>text{font:12px sans-serif;fill:#24292f}.t{font-weight:bold}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 6}">IOPS, median of {result["settings"]["rounds"]} rounds; the line is minimum to maximum. '
        "Blue: ours (two hops). Dark: peers with two hops. Light: with one.</text>",
    ]
    for i, work in enumerate(works):
        parts += panel(work, contestants, rows[work.name], MARGIN + 14 + i * height_each)
    return "\n".join(parts + ["</svg>"]) + "\n"
