"""Seeds that once failed, and what they found.

Those of the first list found that with a queue of the simulation's own; since the store's group commit is in its place
they are seeds like others.
"""

from __future__ import annotations

_BEFORE = [
    (9, "an instance whose creation committed and whose answer was lost was run by nobody until the next start"),
    (18, "a disk slower than a second kept an instance that had ended in memory, and nobody heard of its end"),
    (56, "a pause whose answer was lost left a parked run in memory, with timers that resuming did not move"),
    (220, "a pause whose answer was lost was never told to the instance at work"),
    (292, "a parent put away while it created a child left the child running without anybody to run it"),
    (429, "an instance claimed while the engine stops is given back by the stop"),
    (705, "an instance rolled back with a child that had ended was claimed and parked without end, at full speed"),
    (1362, "a claim under way when its instance was restarted wrote the old journal into the new one"),
    (10141, "a replayed branch that came late through nested gathers slept until another branch's wait ended"),
    (10166, "a child created during an outage was forgotten by its parent"),
    (23695, "nobody looked at the error of a child's creation whose parent had been put away meanwhile"),
    (45619, "a pause overtaken by the resume after it, while it waited for its children, was carried out in memory"),
    (49084, "after a crash a parent took an instance of the same id that is not its own for its child, and never woke"),
    (60435, "a claim under way when an instance was put away in doubt began a second life with an older journal"),
    (200677, "an instance terminated before its creator had heard of it began all the same"),
]
KEPT_SEEDS = [
    *_BEFORE,
    (27, "a claim committed at once brought an instance to an engine that still held it: nobody ran it"),
    (219, "a claim committed at once overtook the move of an instance put away in doubt: nobody ran it"),
    (3732, "what was committed at once overtook the pause before it: parked in memory, paused on disk"),
    (7894, "what was committed at once overtook the beginning of a rollback: the code ran on, and nobody woke it"),
    (
        57021,
        "an instance made due while a claim brought it was turned away and made due, without end",
    ),
    (71083, "a step that stood still at a pause that was taken back found its instance parked, and nobody woke it"),
    (80967, "a child being paused was put away when its parent, replayed, created it again: nobody recorded the pause"),
    (81536, "the same while the child stood still between two attempts"),
]
KEPT_SEEDS_ON_POSTGRESQL = [
    (80987, "a read that waited for its next try was taken for nothing under way"),
    (82007, "an instance turned away was made due when the store had been closed, as its move had been given up"),
]
