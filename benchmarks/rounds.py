"""The run: every peer does every work, round by round, peers alternating within a work. Prints nothing."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Spread, advantage
from benchmarks.installs import UnavailableError
from benchmarks.peers.peer import NoEquivalentError, Peer
from benchmarks.processes import MeasurementError
from benchmarks.works import Figure, Work


@dataclass
class Results:
    """What was measured, and what was not and why.

    Attributes:
        about: The machine and the run.
        peers: Titles and durability by peer name.
        works: What was done.
        values: By work key, peer name and figure key: the values by round.
        missing: By work key and peer name: why there are none, or why there are fewer than rounds.
        unavailable: By peer name: why it could not be set up.
        seconds: How long it all took.
    """

    about: dict[str, Any]
    works: Sequence[Work]
    peers: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, dict[str, dict[str, dict[int, float]]]] = field(default_factory=dict)
    missing: dict[str, dict[str, str]] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)
    seconds: float = 0

    def add(self, work: Work, peer: Peer, number: int, measured: dict[str, float]) -> None:
        """Keep the figures of one measurement. Raises MeasurementError if one is missing."""
        for figure in work.figures:
            if figure.key not in measured:
                raise MeasurementError(f"measured no {figure.key}")
        mine = self.values.setdefault(work.key, {}).setdefault(peer.name, {})
        for figure in work.figures:
            mine.setdefault(figure.key, {})[number] = float(measured[figure.key])

    def miss(self, work: Work, peer: Peer, reason: str) -> None:
        """Keep why a measurement is missing."""
        self.missing.setdefault(work.key, {})[peer.name] = reason

    def by_round(self, work: Work, peer: str, figure: Figure) -> dict[int, float]:
        """The values of a figure by round; empty if there are none."""
        return self.values.get(work.key, {}).get(peer, {}).get(figure.key, {})

    def spread(self, work: Work, peer: str, figure: Figure) -> Spread | None:
        """The median of a figure and what it lies between."""
        values = self.by_round(work, peer, figure)
        return Spread.of(list(values.values())) if values else None

    def ahead(self, work: Work, peer: str, figure: Figure, ours: str = "everstep") -> Spread | None:
        """How many times better we are than a peer."""
        return advantage(self.by_round(work, ours, figure), self.by_round(work, peer, figure), figure.better)

    def as_json(self) -> dict[str, Any]:
        """Everything, with medians and ratios worked out."""
        return {
            **{key: value for key, value in vars(self).items() if key not in {"works", "values"}},
            "works": [{**self._described(work), "figures": self._figures(work)} for work in self.works],
        }

    def _described(self, work: Work) -> dict[str, Any]:
        quick = bool(self.about["quick"])
        return {
            "key": work.key,
            "group": work.group,
            "title": work.named(quick=quick),
            "sizes": work.sizes(quick=quick),
        }

    def _figures(self, work: Work) -> list[dict[str, Any]]:
        return [{**asdict(figure), "peers": self._of_peers(work, figure)} for figure in work.figures]

    def _of_peers(self, work: Work, figure: Figure) -> dict[str, Any]:
        found = {}
        for peer in self.peers:
            if (spread := self.spread(work, peer, figure)) is not None:
                ahead = self.ahead(work, peer, figure)
                values = list(self.by_round(work, peer, figure).values())
                found[peer] = {**asdict(spread), "values": values, "everstep_ahead": ahead and asdict(ahead)}
        return found


Progress = Callable[[str], None]


def run(
    peers: Sequence[Peer], works: Sequence[Work], *, rounds: int, quick: bool, about: dict[str, Any], say: Progress
) -> Results:
    """Do all works with all peers that can be set up; what fails is kept as a reason and stops nothing.

    Args:
        peers: In the order of the report; within a round it is turned, so that nobody is always first.
        works: What is to be done.
        rounds: How often.
        quick: Whether sizes are those of a quick run.
        about: What is known of the tree and the machine.
        say: Called with a line for each measurement.
    """
    results = Results({**about, **machine(), "rounds": rounds, "quick": quick}, works)
    began = time.monotonic()
    ready = [peer for peer in peers if _set_up(peer, results, say)]
    for number in range(rounds):
        turned = ready[number % len(ready) :] + ready[: number % len(ready)] if ready else []
        for work in works:
            for peer in turned:
                if peer.takes(work) and peer.name not in results.missing.get(work.key, {}):
                    say(
                        f"{number + 1}/{rounds}  {work.key:<15} {peer.name:<15} {_measure(work, peer, number, results)}"
                    )
    results.seconds = time.monotonic() - began
    return results


def machine() -> dict[str, Any]:
    """Where this runs, as far as it matters."""
    memory = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[0].split()[1]) / 2**20) if memory else None,
        "filesystem": filesystem(Path(tempfile.gettempdir())),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def filesystem(folder: Path) -> str:
    """What the disk below a folder is formatted with; on `tmpfs` nothing that is measured is durable."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    below = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(below)[1] if below else "unknown"


def _set_up(peer: Peer, results: Results, say: Progress) -> bool:
    results.peers[peer.name] = {"title": peer.title, "durability": peer.durability}
    try:
        peer.set_up()
    except UnavailableError as error:
        results.unavailable[peer.name] = str(error)
        say(f"{peer.name} cannot be had: {error}")
        return False
    return True


def _measure(work: Work, peer: Peer, number: int, results: Results) -> str:
    sizes = work.sizes(quick=bool(results.about["quick"]))
    with tempfile.TemporaryDirectory(prefix="everstep-bench-", ignore_cleanup_errors=True) as folder:
        try:
            results.add(work, peer, number, peer.measure(work, sizes, Path(folder)))
        except NoEquivalentError as error:
            results.miss(work, peer, str(error))
            return f"- ({error})"
        except Exception as error:  # noqa: BLE001  # whatever a peer does, the others are measured
            reason = str(error) if isinstance(error, MeasurementError) else f"{type(error).__name__}: {error}"
            results.miss(work, peer, f"failed: {reason}")
            return f"FAILED: {reason}"
    return ", ".join(f"{results.by_round(work, peer.name, one)[number]:,.4g} {one.unit}" for one in work.figures)
