"""The checker of histories finds what cannot be, and lets pass what can."""

from __future__ import annotations

import pytest

from .linearizable import UNKNOWN, InstanceModel, Operation, is_linearizable

MODEL = InstanceModel(enough=2)
CREATED = Operation("create", None, "done", 0, 1)


def op(what: str, answer: object, began: float, ended: float = float("inf"), argument: object = None) -> Operation:
    return Operation(what, argument, answer, began, ended)


@pytest.mark.parametrize(
    "history",
    [
        [],
        [CREATED, op("status", "live", 2, 3)],
        [CREATED, op("status", "missing", 0.5, 3)],
        [CREATED, op("create", "exists", 0, 3), op("status", "live", 2, 3)],
        [CREATED, op("terminate", "done", 2, 5), op("status", "live", 3, 4), op("status", "terminated", 3, 4)],
        [CREATED, op("send", "done", 2, 4, 1), op("send", "done", 2, 4, 2), op("status", ("complete", (2, 1)), 5, 6)],
        [CREATED, op("send", "done", 2, 3, 1), op("send", "done", 3, 4, 2), op("status", "live", 5, 6)],
        [op("create", UNKNOWN, 0), op("status", "missing", 1, 2), op("status", "live", 3, 4)],
        [op("create", UNKNOWN, 0), op("status", "missing", 100, 101)],
        [CREATED, op("terminate", UNKNOWN, 2), op("send", "done", 9, 10, 1), op("send", "refused", 11, 12, 2)],
        [
            CREATED,
            op("send", UNKNOWN, 2, argument=1),
            op("send", "done", 3, 4, 2),
            op("status", ("complete", (2, 1)), 5, 6),
        ],
    ],
)
def test_what_one_order_explains_passes(history: list[Operation]):
    assert is_linearizable(history, MODEL)


@pytest.mark.parametrize(
    ("why", "history"),
    [
        ("nobody created it", [op("status", "live", 0, 1)]),
        ("a read of old", [CREATED, op("status", "missing", 2, 3)]),
        ("created twice", [CREATED, op("create", "done", 0, 2)]),
        ("back to life", [CREATED, op("terminate", "done", 2, 3), op("status", "live", 4, 5)]),
        ("seen, then not", [CREATED, op("terminate", "done", 2, 9), *(
            op("status", answer, at, at + 1) for at, answer in ((3, "terminated"), (5, "live"))
        )]),
        ("both ended it", [CREATED, op("terminate", "done", 2, 4), op("terminate", "done", 2, 4)]),
        ("an event to the dead", [CREATED, op("terminate", "done", 2, 3), op("send", "done", 4, 5, 1)]),
        ("an event lost", [CREATED, *(op("send", "done", 2 * n, 2 * n + 1, n) for n in (1, 2, 3)),
                           op("status", ("complete", (1, 3)), 8, 9)]),
        ("an event twice", [CREATED, op("send", "done", 2, 3, 1), op("status", ("complete", (1, 1)), 8, 9)]),
        ("an unknown event twice", [CREATED, op("send", UNKNOWN, 2, argument=1),
                                    op("status", ("complete", (1, 1)), 8, 9)]),
        ("before it was asked", [CREATED, op("status", "terminated", 2, 3), op("terminate", UNKNOWN, 4)]),
    ],
)  # fmt: skip
def test_what_no_order_explains_is_found(why: str, history: list[Operation]):
    assert not is_linearizable(history, MODEL), why
