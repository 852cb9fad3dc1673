"""What `everstep dev` says of its database: where it is, and never its password."""

from __future__ import annotations

from pathlib import Path

from everstep.server.dev import _shown


def test_the_database_is_shown_without_its_password(tmp_path: Path):
    assert _shown(f"sqlite:///{tmp_path}/.everstep/state.db", tmp_path) == ".everstep/state.db"
    shown = _shown("postgresql://shop:hunter2@db/shop", tmp_path)
    assert "hunter2" not in shown
    assert "@db/shop" in shown
