"""The results as an SVG chart: a panel for each figure that says most, readable on light and on dark."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from benchmarks.report import SUMMARY, number, title_of
from benchmarks.rounds import Results
from benchmarks.works import Figure, Work

WIDTH, LABEL, VALUE, LINE, GAP = 760, 190, 120, 20, 26
BARS = WIDTH - LABEL - VALUE

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .note { fill: #59636e; font-size: 12px; }
  .bar { fill: #8c959f; }
  .limit { fill: #d0d7de; }
  .everstep { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .bar { fill: #656c76; }
    .limit { fill: #3d444d; }
    .everstep { fill: #4493f8; }
  }
"""


def as_svg(results: Results) -> str:
    """Draw the figures of the summary that were measured; bars begin at 0 and are to scale within a panel."""
    lines, y = [], 10
    for work, figure in shown(results):
        panel = list(_panel(results, work, figure, y))
        lines += panel
        y += GAP + LINE * (len(_measured(results, work, figure)) + 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}" role="img">'
    return "\n".join(
        [
            head,
            "<title>Everstep and its peers on the same work</title>",
            f"<style>{STYLE}</style>",
            *lines,
            "</svg>",
            "",
        ]
    )


def shown(results: Results) -> list[tuple[Work, Figure]]:
    """The figures of the summary that anybody has."""
    return [
        (work, figure)
        for work in results.works
        for figure in work.figures
        if (work.key, figure.key) in SUMMARY and _measured(results, work, figure)
    ]


def _measured(results: Results, work: Work, figure: Figure) -> dict[str, float]:
    spreads = {peer: results.spread(work, peer, figure) for peer in results.peers}
    return {peer: spread.median for peer, spread in spreads.items() if spread is not None}


def _panel(results: Results, work: Work, figure: Figure, top: int) -> Iterator[str]:
    values = _measured(results, work, figure)
    most = max(values.values())
    direction = "more is better" if figure.better == "more" else "less is better"
    what = title_of(results, work) + (f": {figure.title}" if len(work.figures) > 1 else "")
    yield (
        f'<text x="0" y="{top + 14}"><tspan class="title">{escape(what)}</tspan>'
        f' <tspan class="note">{escape(figure.unit)}, {direction}</tspan></text>'
    )
    for row, (peer, value) in enumerate(values.items(), start=1):
        y = top + row * LINE
        kind = {"everstep": "everstep", "disk": "limit", "sqlite": "limit"}.get(peer, "bar")
        width = max(1.0, BARS * value / most) if most > 0 else 1.0
        yield f'<text x="0" y="{y + 14}">{escape(results.peers[peer]["title"])}</text>'
        yield f'<rect class="{kind}" x="{LABEL}" y="{y + 3}" width="{width:.1f}" height="{LINE - 6}" rx="2"/>'
        yield f'<text x="{LABEL + width + 6:.1f}" y="{y + 14}">{number(value)}</text>'
