"""What every peer is: something that is set up and does works. The peers are the modules beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.works import Work

Measured = dict[str, float]


class NoEquivalentError(Exception):
    """A peer has nothing that does this work; the message says what is missing."""


class Peer:
    """One of those that are compared.

    Attributes:
        name: Its name on the command line.
        title: Its name in tables.
        durability: What is on disk when a step counts as done, in a few words, as found by looking.
        best: How many instances at a time suit it best.
        slower: Instances of the works that count steps for a second are divided by this, so that a run takes minutes.
        lacks: Works it does not do, by key or group, with the reason.
    """

    name: str
    title: str
    durability: str
    best: int = 64
    slower: int = 1
    lacks: Mapping[str, str] = {}

    def set_up(self) -> None:
        """Install what is needed. Raises UnavailableError."""

    def takes(self, work: Work) -> bool:
        """Whether it is asked for this work at all; peers always are, and say what they lack."""
        return True

    def measure(self, work: Work, sizes: Mapping[str, Any], folder: Path) -> Measured:
        """Do a work in a fresh folder and return its figures.

        Raises:
            NoEquivalentError: if the peer cannot do this work by its nature.
            MeasurementError: if it went wrong, or took too long.
        """
        if reason := self.lacks.get(work.key, self.lacks.get(work.group)):
            raise NoEquivalentError(reason)
        given = dict(sizes)
        if given.get("concurrency") == "best":
            given["concurrency"] = self.best
        if "concurrency" in given:
            fewest = min(given["concurrency"], given["instances"])
            given["instances"] = max(fewest, given["instances"] // self.slower)
        return self.do(work, given, folder)

    def do(self, work: Work, given: dict[str, Any], folder: Path) -> Measured:
        """Do a work it does not lack."""
        raise NotImplementedError
