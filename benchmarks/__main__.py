"""The command line: `python3 run.py bench`. Chooses what runs and where its results go."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import pages, peers, profile, report, rounds, works
from benchmarks.against import commit, full_hash
from benchmarks.chart import as_svg
from benchmarks.peers.everstep import EverstepPeer, revision
from benchmarks.rounds import Results


def main(arguments: list[str]) -> int:
    line = parser()
    given = line.parse_args(arguments)
    if given.profile:
        return profile.main(write_docs=given.write_docs)
    try:
        against = full_hash(given.against) if given.against else None
        chosen_works = works.chosen(names(given.only) or (works.HOT_PATH if against else ()))
        chosen_peers = [EverstepPeer()] if against else peers.chosen(names(given.peers))
    except ValueError as error:
        line.error(str(error))
    if (kind := rounds.filesystem(Path(tempfile.gettempdir()))) in {"tmpfs", "ramfs"}:
        line.error(f"{tempfile.gettempdir()} is on {kind}, where nothing is durable: set TMPDIR to a folder on a disk")
    with contextlib.ExitStack() as stack:
        if against:
            chosen_peers.append(stack.enter_context(commit(against)))
        results = rounds.run(
            chosen_peers,
            chosen_works,
            rounds=given.rounds or _rounds(given),
            quick=given.quick and not against,  # small sizes would only add noise
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
    parser.add_argument("--rounds", type=_at_least_one, help="how often; 5, with --quick 2; with --against 11 and 5")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: minutes instead of hours")
    parser.add_argument("--chart", type=_writable_file, metavar="FILE", help="draw the main figures as SVG")
    parser.add_argument("--write-docs", action="store_true", help="write the page of docs/design and its chart")
    parser.add_argument("--profile", action="store_true", help="sample where the time of a step goes, and nothing else")
    parser.add_argument("--json", type=_writable_file, metavar="FILE", help="write everything measured as JSON")
    return parser


def _at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return int(text)


def _writable_file(text: str) -> Path:
    """Refuse what could not be written before anything is measured, which may take hours."""
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {str(path.parent)!r}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written")
    return path


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
