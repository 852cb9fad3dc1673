"""The command line: `python3 run.py bench`. Chooses what runs and where its results go."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import pages, peers, profile, report, rounds, works
from benchmarks.against import commit
from benchmarks.chart import as_svg
from benchmarks.peers.everstep import EverstepPeer, revision
from benchmarks.rounds import Results


def main(arguments: list[str]) -> int:
    line = parser()
    given = line.parse_args(arguments)
    if given.profile:
        return profile.main(write_docs=given.write_docs)
    try:
        chosen_works = works.chosen(names(given.only) or (works.HOT_PATH if given.against else ()))
        chosen_peers = [EverstepPeer()] if given.against else peers.chosen(names(given.peers))
    except ValueError as error:
        line.error(str(error))
    if (kind := rounds.filesystem(Path(tempfile.gettempdir()))) in {"tmpfs", "ramfs"}:
        line.error(f"{tempfile.gettempdir()} is on {kind}, where nothing is durable: set TMPDIR to a folder on a disk")
    with contextlib.ExitStack() as stack:
        if given.against:
            chosen_peers.append(stack.enter_context(commit(given.against)))
        results = rounds.run(
            chosen_peers,
            chosen_works,
            rounds=given.rounds or _rounds(given),
            quick=given.quick and not given.against,  # small sizes would only add noise
            about={"commit": revision()},
            say=_say,
        )
    print(report.as_text(results))
    _write(results, given)
    return 1 if "everstep" in results.unavailable or not results.values else 0


def _write(results: Results, given: argparse.Namespace) -> None:
    if given.json:
        given.json.write_text(json.dumps(results.as_json(), indent=2, ensure_ascii=False) + "\n")
    if given.chart:
        given.chart.write_text(as_svg(results))
    if given.write_docs:
        pages.write(results)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py bench", description="Measure Everstep, its peers and the machine.")
    parser.add_argument("--only", metavar="a,b", help="works by group or key; all when omitted")
    parser.add_argument("--peers", metavar="everstep,dbos-sqlite", help="peers by name; all when omitted")
    parser.add_argument("--against", metavar="COMMIT", help="compare this tree with a commit, on the hot path")
    parser.add_argument("--rounds", type=int, help="how often; 5, with --quick 2; with --against 11 and 5")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: minutes instead of hours")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the main figures as SVG")
    parser.add_argument("--write-docs", action="store_true", help="write the page of docs/design and its chart")
    parser.add_argument("--profile", action="store_true", help="sample where the time of a step goes, and nothing else")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured as JSON")
    return parser


def _rounds(given: argparse.Namespace) -> int:
    """Comparing with a commit is about small differences: more rounds, of few works."""
    if given.against:
        return 5 if given.quick else 11
    return 2 if given.quick else 5


def names(given: str | None) -> list[str]:
    return [name.strip() for name in (given or "").split(",") if name.strip()]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
