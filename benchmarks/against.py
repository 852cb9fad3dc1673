"""Another commit of this repository as a peer: its source in a git worktree, gone when the run is over."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from benchmarks.installs import BENCH
from benchmarks.peers.everstep import EverstepPeer
from benchmarks.processes import ROOT


def full_hash(revision: str) -> str:
    """Return the hash of a commit. Raises ValueError if there is no such commit."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ValueError(f"--against: there is no commit {revision!r} in this checkout")
    return ran.stdout.strip()


@contextlib.contextmanager
def commit(full: str) -> Iterator[EverstepPeer]:
    """Check a commit out beside this tree, by its full hash."""
    tree = BENCH / "against" / full[:12]
    if not tree.exists():
        _git("worktree", "add", "--detach", str(tree), full)
    try:
        yield EverstepPeer(tree, name=f"commit-{full[:10]}", title=f"Everstep {full[:10]}")
    finally:
        _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    ran = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {ran.stderr.strip()}")
