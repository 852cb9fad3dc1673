"""The engine of this process; under `everstep dev`, which has one, it stands for that."""

from __future__ import annotations

from everstep import SyncEverstep

from workflows import Order

es = SyncEverstep([Order], database="sqlite:///.everstep/state.db", env={"CURRENCY": "EUR"})
