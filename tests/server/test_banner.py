"""What `everstep dev` says when it starts: its addresses, and where the database is, without its password."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from everstep.server.dev.console import Console
from everstep.server.dev.listener import listen
from everstep.server.dev.server import DevOptions, DevServer, _shown


def test_the_database_is_shown_without_its_password(tmp_path: Path):
    assert _shown(f"sqlite:///{tmp_path}/.everstep/state.db", tmp_path) == ".everstep/state.db"
    shown = _shown("postgresql://shop:hunter2@db/shop", tmp_path)
    assert "hunter2" not in shown
    assert "@db/shop" in shown


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
async def test_the_address_can_be_opened_and_one_for_all_interfaces_is_warned_of(host: str, warned: bool):
    said = io.StringIO()
    program: Any = SimpleNamespace(workflows=[], notes=[])
    with listen(host, 0) as listener:
        server = DevServer(DevOptions(host=host), listener, Console(said))
        server._banner(program, SimpleNamespace(recovered=0), "sqlite:///:memory:", [])  # type: ignore[arg-type]
        assert f"Ready on http://127.0.0.1:{listener.getsockname()[1]}\n" in said.getvalue()
    assert ("listening on all interfaces" in said.getvalue()) == warned
