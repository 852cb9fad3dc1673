"""The results as text: a table for each work, every number out of `Results`. Measures nothing."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Spread
from benchmarks.rounds import Results
from benchmarks.works import Figure, Work

HEAD = ("", "median", "least – most", "Everstep is better by")


SUMMARY = (
    ("sequential", "per_s"),
    ("parallel-1", "per_s"),
    ("parallel-64", "per_s"),
    ("parallel-best", "per_s"),
    ("create", "p50_ms"),
    ("event", "p50_ms"),
    ("event-replay", "p50_ms"),
    ("sleep-1", "p50_1s_ms"),
    ("due-at-once", "last_s"),
    ("asleep", "rss_mib"),
    ("kill", "last_s"),
    ("results", "per_s"),
    ("branches", "per_s"),
    ("dev", "answers_s"),
    ("dev", "creates_per_s"),
    ("import", "needed_ms"),
)
"""The figures that say most, by work and key."""


def as_text(results: Results) -> str:
    """The whole report for a terminal."""
    lines = [about(results), "", "What is on disk when a step counts as done:"]
    lines += [f"  {peer['title']:<22} {peer['durability']}" for peer in results.peers.values()]
    lines += [f"  {results.peers[name]['title']:<22} NOT MEASURED: {why}" for name, why in results.unavailable.items()]
    for work in results.works:
        lines += ["", f"({work.group}) {title_of(results, work)} [{work.key}]"]
        for figure in work.figures:
            if found := list(rows(results, work, figure)):
                lines += _aligned([(_heading(work, figure), *HEAD[1:]), *found])
        lines += [f"  {results.peers[peer]['title']}: {why}" for peer, why in reasons(results, work)]
    head, cells = summary(results)
    lines += ["", "In short: medians, and how many times better Everstep is", *_aligned([head, *cells])]
    return "\n".join(lines)


def about(results: Results) -> str:
    """One line on the run and the machine."""
    of, minutes = results.about, results.seconds / 60
    kind = "quick run" if of["quick"] else "full run"
    return (
        f"{kind} of {of['rounds']} rounds in {minutes:.0f} min, {of['date']}, commit {of.get('commit', '?')}; "
        f"{of['cores']} cores, {of['memory_gib']} GiB, {of['filesystem']}, {of['system']}, Python {of['python']}"
    )


def title_of(results: Results, work: Work) -> str:
    """What was done, with the sizes of this run."""
    return work.named(quick=bool(results.about["quick"]))


def rows(results: Results, work: Work, figure: Figure) -> Iterator[tuple[str, ...]]:
    """The rows of a figure: title, median, spread, ratio."""
    for peer in results.peers:
        spread = results.spread(work, peer, figure)
        if spread is None:
            continue
        ahead = None if peer == "everstep" else results.ahead(work, peer, figure)
        yield (
            results.peers[peer]["title"],
            f"{number(spread.median)} {figure.unit}",
            f"{number(spread.least)} – {number(spread.most)}",
            "" if ahead is None else times(ahead),
        )


def summary(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of a table with a column for each peer: medians, and how many times better Everstep is."""
    peers = {name: peer for name, peer in results.peers.items() if name not in results.unavailable}
    head = ("", *(peer["title"] for peer in peers.values()))
    chosen = [(work, one) for work in results.works for one in work.figures if (work.key, one.key) in SUMMARY]
    cells = [(_named(results, work, one), *(_cell(results, work, peer, one) for peer in peers)) for work, one in chosen]
    return head, [row for row in cells if any(row[1:])]


def _named(results: Results, work: Work, figure: Figure) -> str:
    figure_title = f"{figure.title}, {figure.unit}" if len(work.figures) > 1 else figure.unit
    return f"({work.group}) {title_of(results, work)}: {figure_title}"


def _cell(results: Results, work: Work, peer: str, figure: Figure) -> str:
    spread = results.spread(work, peer, figure)
    if spread is None:
        return ""
    ahead = None if peer == "everstep" else results.ahead(work, peer, figure)
    return number(spread.median) + ("" if ahead is None else f" (×{number(ahead.median)})")


def reasons(results: Results, work: Work) -> list[tuple[str, str]]:
    """Who is missing from a work, and why."""
    return list(results.missing.get(work.key, {}).items())


def times(ratio: Spread) -> str:
    """A ratio with its spread: ×8.1 (7.2 – 9.0)."""
    return f"×{number(ratio.median)} ({number(ratio.least)} – {number(ratio.most)})"


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _heading(work: Work, figure: Figure) -> str:
    return "" if len(work.figures) == 1 else figure.title


def _aligned(table: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [
        "  "
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in table
    ]
