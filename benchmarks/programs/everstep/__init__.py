"""The works done by Everstep, through its public API and with its defaults, in processes of its own."""

from __future__ import annotations

import inspect
from typing import Any

from everstep import Everstep


def engine(workflows: list[Any], database: str, **given: Any) -> Everstep:
    """Make an engine that owns its process, as `everstep dev` does; commits from before that was known go without."""
    known = "owns_process" in inspect.signature(Everstep.__init__).parameters
    return Everstep(workflows, database=database, **({"owns_process": True} if known else {}), **given)
