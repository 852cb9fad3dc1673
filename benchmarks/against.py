"""Another commit of this repository as a peer: its source in a git worktree, gone when the run is over."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from benchmarks.installs import BENCH
from benchmarks.peers.everstep import EverstepPeer
from benchmarks.processes import ROOT


@contextlib.contextmanager
def commit(revision: str) -> Iterator[EverstepPeer]:
    """Check a commit out beside this tree. Raises SystemExit if there is no such commit."""
    full = _git("rev-parse", "--verify", f"{revision}^{{commit}}")
    tree = BENCH / "against" / full[:12]
    if not tree.exists():
        _git("worktree", "add", "--detach", str(tree), full)
    try:
        yield EverstepPeer(tree, name=f"commit-{full[:10]}", title=f"Everstep {full[:10]}")
    finally:
        _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {ran.stderr.strip()}")
    return ran.stdout.strip()
