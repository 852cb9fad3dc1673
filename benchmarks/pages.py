"""The results as a page of the documentation, `docs/design/benchmarks.md`, with its chart. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.chart import as_svg
from benchmarks.processes import ROOT
from benchmarks.rounds import Results
from benchmarks.works import Work

PAGE = ROOT / "docs" / "design" / "benchmarks.md"

INTRODUCTION = """# Benchmarks

Written by `python3 run.py bench --write-docs`; [how it is run and what each figure means](../how-to/benchmark.md).
Everything shares one machine, the load included. Absolute numbers move with it; what counts are the ratios, taken round
by round from measurements that alternate. “Everstep is better by” is above ×1 where Everstep is ahead, for speeds and
latencies alike."""


def write(results: Results, page: Path = PAGE) -> None:
    """Write the page and the chart beside it."""
    page.write_text(as_markdown(results), encoding="utf-8")
    page.with_suffix(".svg").write_text(as_svg(results), encoding="utf-8")


def as_markdown(results: Results) -> str:
    """The whole page."""
    lines = [INTRODUCTION, "", f"Measured: {report.about(results)}.", ""]
    lines += ["![The main figures, Everstep beside its peers](benchmarks.svg)", "", "## In short", ""]
    lines += table(*report.summary(results))
    lines += ["", "## What is on disk when a step counts as done", "", *_durability(results)]
    for work in results.works:
        lines += ["", f"## ({work.group}) {report.title_of(results, work)}", "", *_work(results, work)]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown; the first column is text, the others are numbers."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in (head, marks, *rows)]


def _durability(results: Results) -> Iterator[str]:
    yield from ("| | |", "| --- | --- |")
    for name, peer in results.peers.items():
        missing = results.unavailable.get(name)
        yield f"| {peer['title']} | {peer['durability'] if missing is None else f'not measured: {missing}'} |"


def _work(results: Results, work: Work) -> Iterator[str]:
    for figure in work.figures:
        if rows := list(report.rows(results, work, figure)):
            yield from table((figure.title if len(work.figures) > 1 else "", *report.HEAD[1:]), rows)
            yield ""
    for peer, why in report.reasons(results, work):
        yield f"- {results.peers[peer]['title']}: {why}"
