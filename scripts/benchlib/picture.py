"""The results as a picture: a panel for each case, a bar for each server, prefork's length being 1.  Pure: SVG out.

It has a background of its own and follows the reader's colour scheme, so that it is legible on any page.
"""

from __future__ import annotations

import textwrap
from html import escape

from benchlib.cases import Case
from benchlib.report import Results

COLUMNS = 3
PANEL = 320  # all lengths are pixels
NAMES, BAR, LINE = 116, 130, 18  # a row: the server's name, the longest bar, the height
TITLE, ABOUT = 22, 15  # heights of a panel's title, and of a line about it
ABOUT_WIDTH = 50  # characters
MARGIN, FOOTER_LINE = 20, 16

STYLE = """
svg { font: 12px -apple-system, BlinkMacSystemFont, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
.page { fill: #fff; stroke: #d1d9e0 }
text { fill: #1f2328; stroke: #fff; stroke-width: 4px; paint-order: stroke }
.title { font-size: 15px; font-weight: 600 }
.about, .none { fill: #59636e; font-size: 11px }
.ours { font-weight: 600 }
rect.ours { fill: #0969da }
rect.peer { fill: #b6bfc9 }
rect.bound { fill: none; stroke: #8c959f; stroke-dasharray: 3 2 }
line { stroke: #0969da; stroke-opacity: .5 }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; stroke: #3d444d }
  text { fill: #f0f6fc; stroke: #0d1117 }
  .about, .none { fill: #9198a1 }
  rect.ours { fill: #4493f8 }
  rect.peer { fill: #59636e }
  rect.bound { stroke: #9198a1 }
  line { stroke: #4493f8 }
}
"""


def draw(results: Results, cases: list[Case], servers: list[str], ours: str, bound: str, footer: list[str]) -> str:
    """The bars of ``servers`` in those of ``cases`` where ``ours``, which stands out, was measured.

    ``bound`` is the one that shows what no server is expected to reach, and ``footer`` lines that follow the legend.
    """
    drawn = [case for case in cases if results.median(case.name, ours)]
    about = max((len(_about(case)) for case in drawn), default=0)
    height = TITLE + about * ABOUT + len(servers) * LINE + MARGIN
    panels = []
    for number, case in enumerate(drawn):
        row, column = divmod(number, COLUMNS)
        panel = _panel(results, case, servers, ours, bound, about)
        panels.append(f'<g transform="translate({MARGIN + column * PANEL} {MARGIN + row * height})">\n{panel}\n</g>')
    width = min(len(drawn), COLUMNS) * PANEL + MARGIN
    bottom = MARGIN + -(-len(drawn) // COLUMNS) * height
    legend = f"Requests a second, as multiples of {ours}'s. Dashed: a loop that answers without looking at the request."
    below = [legend, *footer]
    total = bottom + len(below) * FOOTER_LINE + 6
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" width="{width}" height="{total}">',
        f'<title>Requests a second of WSGI servers, as multiples of those of {escape(ours)}</title>',
        f'<style>{STYLE}</style>',
        f'<rect class="page" x=".5" y=".5" width="{width - 1}" height="{total - 1}" rx="6"/>',
        *panels,
        *(_text(MARGIN, bottom + 6 + FOOTER_LINE * number, line, 'about') for number, line in enumerate(below)),
        '</svg>',
    ]
    return '\n'.join(lines) + '\n'


def _panel(results: Results, case: Case, servers: list[str], ours: str, bound: str, about: int) -> str:
    best = max(results.median(case.name, server) or 0.0 for server in servers)
    our_median = results.median(case.name, ours)
    assert our_median
    top = TITLE + about * ABOUT
    one = NAMES + BAR * our_median / best
    parts = [f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{top}" y2="{top + len(servers) * LINE}"/>']
    parts.append(_text(0, 12, case.name, 'title'))
    parts += [_text(0, TITLE + 7 + ABOUT * number, line, 'about') for number, line in enumerate(_about(case))]
    for number, server in enumerate(servers):
        kind = {ours: 'ours', bound: 'bound'}.get(server, 'peer')
        middle = top + number * LINE + LINE // 2
        parts.append(_text(NAMES - 8, middle + 4, server, kind, 'text-anchor="end"'))
        median = results.median(case.name, server)
        if median is None:
            parts.append(_text(NAMES, middle + 4, _why_not(results, case, server), 'none'))
            continue
        length = BAR * median / best
        box = f'x="{NAMES}" y="{middle - 6}" width="{length:.1f}" height="12"'
        value = f'{our_median:,.0f}/s' if server == ours else f'{median / our_median:.2f}'
        parts.append(f'<rect class="{kind}" {box}/>')
        parts.append(_text(NAMES + length + 5, middle + 4, value, kind))
    return '\n'.join(parts)


def _about(case: Case) -> list[str]:
    return textwrap.wrap(case.about, ABOUT_WIDTH)


def _why_not(results: Results, case: Case, server: str) -> str:
    """Why there is no bar, in two or three words."""
    return results.excuses.get((case.name, server)) or 'failed'


def _text(x: float, y: int, words: str, kind: str, more: str = '') -> str:
    attributes = f'x="{x:g}" y="{y}" class="{kind}" {more}'.rstrip()
    return f'<text {attributes}>{escape(words)}</text>'
