"""The command and its pages: what can be chosen, what is written, what the documentation says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as command
from benchmarks import against, pages, peers, rounds, works
from benchmarks.chart import as_svg
from benchmarks.installs import BENCH, UnavailableError
from benchmarks.peers.everstep import EverstepPeer, revision
from benchmarks.rounds import Results
from benchmarks.works import WORKS

ROOT = Path(__file__).parents[2]
HOW_TO = (ROOT / "docs" / "how-to" / "benchmark.md").read_text(encoding="utf-8")


def results() -> Results:
    found = Results(
        {
            "quick": False,
            "rounds": 2,
            "cores": 2,
            "memory_gib": 8,
            "filesystem": "ext4",
            "system": "x",
            "python": "3",
            "date": "d",
        },
        WORKS,
    )
    [work] = works.chosen(["sequential"])
    for name, values in (("everstep", (4000.0, 5000.0)), ("slow", (40.0, 50.0))):
        found.peers[name] = {"title": f"{name} & co", "durability": "yes"}
        found.values.setdefault("sequential", {})[name] = {"per_s": dict(enumerate(values))}
    found.miss(work, EverstepPeer(), "one of three failed")
    return found


def test_works_are_chosen_by_group_and_by_key() -> None:
    assert [work.key for work in works.chosen(["c", "sequential"])] == ["sequential", "create"]
    assert len(works.chosen([])) == len(WORKS)


def test_everstep_is_always_among_the_peers() -> None:
    assert [peer.name for peer in peers.chosen(["restate"])] == ["everstep", "restate"]


@pytest.mark.parametrize("arguments", [["--only", "z"], ["--peers", "nobody"]])
def test_an_unknown_choice_is_refused_with_what_is_known(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(arguments)

    assert "known: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "/nonexistent/x.json"], "argument --json: there is no directory '/nonexistent'"),
        (["--chart", "/nonexistent/x.svg"], "argument --chart: there is no directory '/nonexistent'"),
        (["--json", "/"], "argument --json: '/' cannot be written"),
        (["--rounds", "0"], "argument --rounds: '0' is not a whole number from 1 up"),
        (["--rounds", "-1"], "argument --rounds: '-1' is not a whole number from 1 up"),
        (["--rounds", "two"], "argument --rounds: 'two' is not a whole number from 1 up"),
        (["--against", "nosuch"], "--against: there is no commit 'nosuch' in this checkout"),
    ],
)
def test_what_cannot_come_to_a_result_is_refused_before_anything_is_measured(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, **__: object) -> Results:
        raise AssertionError("measured")

    monkeypatch.setattr(rounds, "run", run)

    with pytest.raises(SystemExit) as ended:
        command.main(["--quick", *arguments])

    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"run.py bench: error: {message}"


def test_the_command_measures_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(EverstepPeer, "set_up", lambda _: None)  # the environment of the tests has it all
    written, chart = tmp_path / "out.json", tmp_path / "out.svg"

    code = command.main(
        [
            "--quick",
            "--rounds",
            "1",
            "--only",
            "sequential",
            "--peers",
            "everstep",
            "--json",
            str(written),
            "--chart",
            str(chart),
        ]
    )

    assert code == 0
    [figure] = json.loads(written.read_text())["works"][0]["figures"]
    [value] = figure["peers"]["everstep"]["values"]
    assert f"{value:,.0f} steps/s" in capsys.readouterr().out
    assert f">{value:,.0f}</text>" in chart.read_text()


def test_without_everstep_there_is_nothing_to_compare_and_the_command_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_up(_: EverstepPeer) -> None:
        raise UnavailableError("no venv here")

    monkeypatch.setattr(EverstepPeer, "set_up", set_up)

    assert command.main(["--quick", "--only", "sequential", "--peers", "everstep"]) == 1


def test_a_commit_is_checked_out_for_the_comparison_and_gone_afterwards() -> None:
    if revision() == "unknown":
        pytest.skip("not a git checkout")
    with against.commit(against.full_hash("HEAD")) as peer:
        assert (peer.tree / "src" / "everstep" / "__init__.py").exists()
        assert peer.tree.is_relative_to(BENCH)
    assert not peer.tree.exists()


def test_the_chart_is_well_formed_and_drawn_to_scale() -> None:
    root = ElementTree.fromstring(as_svg(results()))

    bars = [float(bar.get("width", "0")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars == [450.0, 4.5]


def test_the_page_has_medians_ratios_and_what_is_missing(tmp_path: Path) -> None:
    pages.write(results(), tmp_path / "page.md")

    page = (tmp_path / "page.md").read_text()
    assert "| slow & co | 45.0 steps/s | 40.0 – 50.0 | ×100 (100 – 100) |" in page
    assert "- everstep & co: one of three failed" in page
    assert (tmp_path / "page.svg").exists()


def test_the_how_to_names_every_peer_group_and_option() -> None:
    for peer in peers.PEERS:
        assert f"`{peer.name}`" in HOW_TO
    for group in {work.group for work in WORKS}:
        assert f"| {group} | " in HOW_TO
    helped = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for option in set(re.findall(r"--[a-z-]+", helped.stdout)) - {"--help"}:
        assert option in HOW_TO


def test_the_commands_of_the_how_to_are_ones_it_takes() -> None:
    lines = [line for block in re.findall(r"```sh\n(.*?)```", HOW_TO, re.DOTALL) for line in block.splitlines()]
    assert lines
    for line in lines:
        assert line.startswith("python3 run.py bench ")
        given = command.parser().parse_args(line.split()[3:])
        works.chosen(command.names(given.only))
        peers.chosen(command.names(given.peers))


def test_a_temporary_directory_in_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rounds, "filesystem", lambda _: "tmpfs")

    with pytest.raises(SystemExit):
        command.main(["--quick"])

    assert "TMPDIR" in capsys.readouterr().err
