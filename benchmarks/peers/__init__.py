"""The peers, and the limits of the machine, by name."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.cloudflare import Cloudflare
from benchmarks.peers.dbos import DbosOnPostgres, DbosOnSqlite
from benchmarks.peers.everstep import EverstepPeer
from benchmarks.peers.everstep_postgres import EverstepOnPostgres
from benchmarks.peers.limits import BareDisk, BareSqlite
from benchmarks.peers.peer import Peer
from benchmarks.peers.restate import Restate
from benchmarks.peers.temporal import Temporal

PEERS: Sequence[type[Peer]] = (
    EverstepPeer,
    EverstepOnPostgres,
    BareDisk,
    BareSqlite,
    DbosOnSqlite,
    DbosOnPostgres,
    Restate,
    Temporal,
    Cloudflare,
)


def chosen(names: Sequence[str]) -> list[Peer]:
    """The peers of these names in their own order, Everstep always among them; all for none. Raises ValueError."""
    known = [peer.name for peer in PEERS]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"there is no peer {', '.join(unknown)}; known: {', '.join(known)}")
    return [peer() for peer in PEERS if not names or peer.name in names or peer is EverstepPeer]
