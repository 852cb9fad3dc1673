"""Small programs that a replay easily gets wrong, grouped by what of asyncio and of Everstep they use.

Each returns a value that is known beforehand. No two things happen at the same moment, unless that is the point of a
program, so that an interruption, which takes no time, changes nothing that the code sees.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Literal

from msgspec import Struct

from everstep import NonRetryableError, WorkflowEntrypoint

from .world import AGAIN, ONCE, got, held_in_a_thread, in_a_thread, job, let_threads_go, perform, say

Same = Literal["trace", "value", "history"]


class Program(Struct, frozen=True):
    """One program.

    Attributes:
        run: Its code.
        group: Which construct it is about.
        returns: What it returns, or the error it ends with, as `Raises`.
        events: The events to be sent: seconds from the beginning, type, payload.
        same: What an interruption leaves as it is: all that the code sees, what it returns, or no more than what the
            history already says. The last is for ties, which may rightly end otherwise when they are run again, the
            second for values and orders that differ from one instance to another.
        lasts: Seconds after which it has surely ended.
        inner: The names of steps inside other steps. They are remembered for the outer step's next attempt only.
    """

    run: Callable[[Any, Any], Any]
    group: str
    returns: Any
    events: Sequence[tuple[float, str, Any]] = ()
    same: Same = "trace"
    lasts: float = 600
    inner: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.run.__name__


class Raises(Struct, frozen=True):
    """The error a program ends with; the errors of a group in braces."""

    error: str


PROGRAMS: list[Program] = []


def program(group: str, returns: Any, **more: Any) -> Callable[[Any], Any]:
    """Add a program to the table."""

    def add(run: Any) -> Any:
        PROGRAMS.append(Program(run, group, returns, **more))
        return run

    return add


def described(error: BaseException) -> str:
    """Describe an error, and those inside a group in their order."""
    if isinstance(error, BaseExceptionGroup):
        return f"{type(error).__name__}{{{', '.join(described(one) for one in error.exceptions)}}}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Child(WorkflowEntrypoint):
    """A child workflow that lasts for a while."""

    async def run(self, event: Any, step: Any) -> Any:
        asked = event.payload
        await step.sleep("lasts", f"{asked['seconds']} seconds")
        if asked.get("fail"):
            raise ValueError(asked["fail"])
        return await step.do("value", lambda: asked["value"])


# One after another


@program("sequential", ["a", "b", "go", "c"], events=[(7, "go", "go")])
async def one_after_another(event, step):
    first = await step.do("first", AGAIN, job("first", "a", seconds=2))
    await step.sleep("nap", "3 seconds")
    second = await step.do("second", AGAIN, job("second", "b"))
    came = await step.wait_for_event("news", "go")
    say("news", came.payload, came.type)
    return [first, second, came.payload, await step.do("third", AGAIN, job("third", "c", seconds=1))]


@program("sequential", [0, 1, 2, 3])
async def equal_names_in_a_loop(event, step):
    values = []
    for n in range(4):
        values.append(await step.do("work", AGAIN, job(f"work {n}", n, seconds=n % 2)))
        await step.sleep("nap", f"{n + 1} seconds")
        say(values)
    return values


@program("sequential", "large")
async def a_branch_by_a_result(event, step):
    size = await step.do("size", AGAIN, job("size", 7))
    if size > 5:
        return await step.do("large", AGAIN, job("large", "large", seconds=1))
    return await step.do("small", AGAIN, job("small", "small"))


@program("sequential", ["NonRetryableError: no stock", "refunded"])
async def a_caught_error(event, step):
    try:
        await step.do("charge", AGAIN, job("charge", error=NonRetryableError("no stock")))
    except NonRetryableError as error:
        caught = described(error)
    say(caught)
    await step.sleep("nap", "1 second")
    return [caught, await step.do("refund", AGAIN, job("refund", "refunded", seconds=1))]


@program("sequential", Raises("NonRetryableError: declined"))
async def an_error_nobody_catches(event, step):
    await step.do("reserve", AGAIN, job("reserve", seconds=1))
    await step.do("charge", AGAIN, job("charge", error=NonRetryableError("declined"), seconds=1))


@program("sequential", "charged", same="history")
async def a_step_that_may_run_once(event, step):
    try:
        return await step.do("charge", ONCE, job("charge", "charged", seconds=3))
    except Exception as error:
        say(described(error))
        return "not twice"


# gather


@program("gather", [["a", "receipt of a"], ["b", "receipt of b"], ["c", "receipt of c"]])
async def equal_names_in_all_branches(event, step):
    async def buy(item, seconds):
        cost = await step.do("price", AGAIN, job(f"price {item}", item, seconds=seconds))
        receipt = await step.do("charge", AGAIN, job(f"charge {item}", f"receipt of {cost}"))
        await step.sleep("settle", "60 seconds")
        say(item, receipt)
        return [item, await step.do("mail", AGAIN, job(f"mail {item}", receipt))]

    return await asyncio.gather(buy("a", 6), buy("b", 3), buy("c", 0))


@program("gather", [0, 1, 2, [3, 4]])
async def branches_of_unequal_depth(event, step):
    async def leaf(n):
        value = await step.do("leaf", AGAIN, job(f"leaf {n}", n, seconds=1 + n))
        say("leaf", value)
        return value

    async def deep(n, levels):
        if levels:
            (value,) = await asyncio.gather(deep(n, levels - 1))
            return value
        return await leaf(n)

    return await asyncio.gather(deep(0, 3), leaf(1), deep(2, 1), asyncio.gather(leaf(3), deep(4, 2)))


@program("gather", list(range(12)))
async def twelve_branches_that_end_in_an_order_of_their_own(event, step):
    async def branch(n):
        await step.do("work", AGAIN, job(f"work {n}", seconds=1 + n * 5 % 12))
        say(n)
        return n

    return await asyncio.gather(*(branch(n) for n in range(12)))


@program("gather", [1, 2, 3], same="value")
async def branches_that_take_no_time(event, step):
    async def branch(n):
        for turn in range(3):
            await step.do("work", AGAIN, job(f"work {n} {turn}"))
            say(n, turn)
        return n

    return await asyncio.gather(*(branch(n) for n in (1, 2, 3)))


@program("gather", ["a", "b"])
async def a_branch_that_lets_others_go_first(event, step):
    async def branch(name, turns):
        await step.do("one", AGAIN, job(f"one {name}", seconds=2 if turns else 3))
        for _ in range(turns):
            await asyncio.sleep(0)
        say(name, "asks")
        return await step.do("two", AGAIN, job(f"two {name}", name, seconds=2))

    return await asyncio.gather(branch("a", 17), branch("b", 0))


@program("gather", ["b failed", "a failed"])
async def the_first_error_of_a_gather(event, step):
    a = asyncio.create_task(step.do("a", AGAIN, job("a", error=NonRetryableError("a failed"), seconds=5)))
    b = asyncio.create_task(step.do("b", AGAIN, job("b", error=NonRetryableError("b failed"), seconds=2)))
    try:
        await asyncio.gather(a, b)
    except NonRetryableError as error:
        first = str(error)
    say("caught", first)
    await step.sleep("nap", "1 second")
    await asyncio.wait([a, b])
    await step.sleep("rest", "10 seconds")
    return [first, str(a.exception())]


@program("gather", ["a", "NonRetryableError: b failed", "c"])
async def errors_gathered_with_results(event, step):
    found = await asyncio.gather(
        step.do("a", AGAIN, job("a", "a", seconds=3)),
        step.do("b", AGAIN, job("b", error=NonRetryableError("b failed"), seconds=1)),
        step.do("c", AGAIN, job("c", "c", seconds=2)),
        return_exceptions=True,
    )
    say(found)
    await step.sleep("nap", "1 second")
    return [described(one) if isinstance(one, Exception) else one for one in found]


@program("gather", "went on")
async def a_cancelled_gather(event, step):
    async def branch(n):
        try:
            await step.sleep("long", "1 hour")
        except asyncio.CancelledError:
            say("cancelled", n)
            raise

    together = asyncio.gather(branch(1), branch(2), step.do("work", AGAIN, job("work", seconds=50)))
    await step.sleep("a moment", "2 seconds")
    together.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await together
    await step.sleep("rest", "3 seconds")
    return await step.do("next", AGAIN, job("next", "went on"))


# TaskGroup


@program("task group", [0, 2, 4])
async def a_task_group_that_succeeds(event, step):
    async def branch(n):
        value = await step.do("double", AGAIN, job(f"double {n}", 2 * n, seconds=4 - n))
        say(value)
        return value

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(branch(n)) for n in range(3)]
        group.create_task(step.sleep("nap", "10 seconds"))
    return [task.result() for task in tasks]


@program("task group", ["NonRetryableError: no stock", "went on"], same="value")
async def a_task_group_that_fails(event, step):
    async def branch(name, work):
        try:
            await work
        except asyncio.CancelledError:
            say("cancelled", name)
            raise

    caught = []
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(branch("do", step.do("charge", AGAIN, job("charge", seconds=5))))
            group.create_task(branch("sleep", step.sleep("nap", "50 seconds")))
            group.create_task(branch("wait", step.wait_for_event("never", "never")))
            error = NonRetryableError("no stock")
            group.create_task(branch("fails", step.do("stock", AGAIN, job("stock", error=error, seconds=2))))
    except* NonRetryableError as errors:
        caught = [described(one) for one in errors.exceptions]
    say(caught)
    await step.sleep("rest", "10 seconds")
    return [*caught, await step.do("next", AGAIN, job("next", "went on"))]


@program("task group", ["ExceptionGroup{NonRetryableError: inner}", "outer went on"], same="value")
async def task_groups_inside_each_other(event, step):
    async def inner():
        async with asyncio.TaskGroup() as group:
            group.create_task(step.do("one", AGAIN, job("one", error=NonRetryableError("inner"), seconds=2)))
            group.create_task(step.do("two", AGAIN, job("two", seconds=9)))

    async def guarded():
        try:
            await inner()
        except* NonRetryableError as errors:
            caught.append(described(errors))

    caught: list[str] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(guarded())
        other = group.create_task(step.do("three", AGAIN, job("three", "outer went on", seconds=5)))
    return [*caught, other.result()]


@program("task group", Raises("ExceptionGroup{NonRetryableError: first, ValueError: in cleaning up}"))
async def a_group_of_two_errors(event, step):
    async def cleans_up():
        try:
            await step.wait_for_event("never", "never")
        except asyncio.CancelledError:
            await step.do("clean up", AGAIN, job("clean up", seconds=1))
            raise ValueError("in cleaning up") from None

    async with asyncio.TaskGroup() as group:
        group.create_task(cleans_up())
        group.create_task(step.do("fails", AGAIN, job("fails", error=NonRetryableError("first"), seconds=3)))


@program("task group", [0, 1, 2, 3])
async def a_task_group_that_grows(event, step):
    found = []

    async def branch(group, n):
        found.append(await step.do("work", AGAIN, job(f"work {n}", n, seconds=1 + n % 2)))
        say(n)
        if n < 3:
            group.create_task(branch(group, n + 1))

    async with asyncio.TaskGroup() as group:
        group.create_task(branch(group, 0))
    return found


# wait


@program("wait", [0, 3, 2, 1, 5, 4])
async def a_sliding_window(event, step):
    running: set[Any] = set()
    found, coming = [], iter(range(6))
    while True:
        while len(running) < 3 and (n := next(coming, None)) is not None:
            running.add(asyncio.create_task(step.do("work", AGAIN, job(f"work {n}", n, seconds=1 + n * 5 % 7))))
        if not running:
            return found
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        found.extend(sorted(task.result() for task in done))
        say(found)


@program("wait", [["b"], ["a", "c"]])
async def wait_for_the_first_exception(event, step):
    tasks = {
        name: asyncio.create_task(step.do(name, AGAIN, job(name, name, seconds=seconds, error=error)), name=name)
        for name, seconds, error in (("a", 5, None), ("b", 2, NonRetryableError("b failed")), ("c", 8, None))
    }
    done, pending = await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_EXCEPTION)
    say(*sorted(task.get_name() for task in done))
    assert str(tasks["b"].exception()) == "b failed"
    later, _ = await asyncio.wait(pending)
    return [sorted(task.get_name() for task in done), sorted(task.get_name() for task in later)]


@program("wait", ["a", "b", "c"])
async def wait_for_all(event, step):
    async def branch(name, seconds):
        await step.sleep(name, f"{seconds} seconds")
        say(name)
        return name

    tasks = [asyncio.create_task(branch(name, seconds)) for name, seconds in (("a", 5), ("b", 2), ("c", 3))]
    done, pending = await asyncio.wait(tasks)
    assert not pending
    return sorted(task.result() for task in done)


@program("wait", [["0", "1", "2"], ["late"]], same="value")
async def several_done_at_once(event, step):
    gate = asyncio.Event()

    async def through(n):
        await gate.wait()
        return n

    tasks = [asyncio.create_task(through(n), name=str(n)) for n in range(3)]
    late = asyncio.create_task(step.sleep("late", "20 seconds"), name="late")
    opener = asyncio.create_task(step.do("opens", AGAIN, job("opens", seconds=2)))
    opener.add_done_callback(lambda _: gate.set())
    done, pending = await asyncio.wait([*tasks, late], return_when=asyncio.FIRST_COMPLETED)
    say(*(task.get_name() for task in done))
    for task in done:
        await step.do(f"done {task.get_name()}", AGAIN, job(f"done {task.get_name()}"))
    await asyncio.wait(pending)
    return [sorted(task.get_name() for task in done), [task.get_name() for task in pending]]


@program("wait", [["quick"], ["slow"], "slow"])
async def a_wait_with_a_timeout(event, step):
    tasks = [
        asyncio.create_task(step.do(name, AGAIN, job(name, name, seconds=seconds)), name=name)
        for name, seconds in (("quick", 2), ("slow", 9))
    ]
    done, pending = await asyncio.wait(tasks, timeout=5)
    names = [[task.get_name() for task in some] for some in (done, pending)]
    say(names)
    await step.do("meanwhile", AGAIN, job("meanwhile", seconds=1))
    return [*names, await tasks[1]]


@program("wait", ["a", "b"])
async def a_wait_for_what_is_done_already(event, step):
    a = asyncio.create_task(step.do("a", AGAIN, job("a", "a", seconds=1)))
    b = asyncio.create_task(step.do("b", AGAIN, job("b", "b", seconds=4)))
    await step.sleep("nap", "2 seconds")
    done, _ = await asyncio.wait([a, b], return_when=asyncio.FIRST_COMPLETED)
    say(done == {a})
    first = [task.result() for task in done]
    await step.do("between", AGAIN, job("between"))
    return [*first, await b]


# as_completed


@program("as_completed", [[2, "posted 2"], [1, "posted 1"], [0, "posted 0"]])
async def as_completed_over_tasks(event, step):
    tasks = [asyncio.create_task(step.do(f"get {n}", AGAIN, job(f"get {n}", n, seconds=7 - 3 * n))) for n in range(3)]
    pairs = []
    for place, ended in enumerate(asyncio.as_completed(tasks)):
        n = await ended
        say(n)
        pairs.append([n, await step.do(f"post {place}", AGAIN, job(f"post {n}", f"posted {n}"))])
    await step.sleep("rest", "10 seconds")
    return pairs


@program("as_completed", [3, 2, 1, 0], same="value")
async def as_completed_over_coroutines(event, step):
    async def one(n):
        await step.sleep("apart", f"{1 + n} seconds")
        return await step.do("get", AGAIN, job(f"get {n}", n, seconds=20 - 4 * n))

    found = []
    for ended in asyncio.as_completed([one(n) for n in range(4)]):
        found.append(await ended)
        say(found[-1])
    await step.sleep("rest", "10 seconds")
    return found


@program("as_completed", ["a", "too late", "b"])
async def as_completed_with_a_timeout(event, step):
    a = asyncio.create_task(step.do("a", AGAIN, job("a", "a", seconds=1)))
    b = asyncio.create_task(step.do("b", AGAIN, job("b", "b", seconds=9)))
    found = []
    try:
        for ended in asyncio.as_completed([a, b], timeout=4):
            found.append(await ended)
            say(found)
    except TimeoutError:
        found.append("too late")
        say(found)
    await step.do("between", AGAIN, job("between"))
    return [*found, await b]


# shield


@program("shield", ["not yet", "worked"])
async def a_shielded_step_outlives_a_timeout(event, step):
    work = asyncio.create_task(step.do("work", AGAIN, job("work", "worked", seconds=5)))
    try:
        async with asyncio.timeout(2):
            await asyncio.shield(work)
    except TimeoutError:
        say("not yet")
    await step.do("meanwhile", AGAIN, job("meanwhile"))
    return ["not yet", await work]


@program("shield", "worked")
async def a_shielded_step_of_a_cancelled_branch(event, step):
    work = asyncio.create_task(step.do("work", AGAIN, job("work", "worked", seconds=5)))

    async def branch():
        await asyncio.shield(work)

    task = asyncio.create_task(branch())
    await step.sleep("a moment", "1 second")
    task.cancel()
    await asyncio.wait([task])
    say("cancelled", task.cancelled())
    await step.sleep("rest", "2 seconds")
    return await work


# Locks and queues


@program("locks", [1, 2, 0])
async def a_lock_between_branches(event, step):
    lock, order = asyncio.Lock(), []

    async def branch(n, seconds):
        await step.do(f"before {n}", AGAIN, job(f"before {n}", seconds=seconds))
        async with lock:
            order.append(n)
            say("inside", n)
            await step.do("inside", AGAIN, job(f"inside {n}", seconds=1))
            await step.sleep("rest", "6 seconds")
            await step.do("leaves", AGAIN, job(f"leaves {n}"))

    await asyncio.gather(branch(0, 3), branch(1, 0), branch(2, 2))
    return order


@program("locks", [0, 1, 2, 3, 4])
async def a_semaphore_between_branches(event, step):
    places, order = asyncio.Semaphore(2), []

    async def branch(n):
        async with places:
            order.append(n)
            say("inside", n)
            await step.do("work", AGAIN, job(f"work {n}", seconds=(5, 2, 4, 1.5, 3)[n]))

    await asyncio.gather(*(branch(n) for n in range(5)))
    return order


@program("locks", [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]])
async def a_queue_between_producers_and_consumers(event, step):
    queue: asyncio.Queue[Any] = asyncio.Queue(2)
    found = []

    async def producer(n):
        for turn in range(3):
            seconds = (n * 2 + turn) % 3 + 0.1 * n
            await queue.put(await step.do("make", AGAIN, job(f"make {n} {turn}", [n, turn], seconds=seconds)))

    async def consumer(name):
        while True:
            item = await queue.get()
            say(name, item)
            found.append(await step.do(f"use {item}", AGAIN, job(f"use {item}", item, seconds=1.7)))
            queue.task_done()

    consumers = [asyncio.create_task(consumer(name)) for name in "xy"]
    await asyncio.gather(producer(0), producer(1))
    await queue.join()
    for task in consumers:
        task.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    say(found)
    return sorted(found)


@program("locks", ["a", "b", "c"])
async def an_event_between_branches(event, step):
    ready, order = asyncio.Event(), []

    async def waits(name):
        await ready.wait()
        order.append(name)
        say(name)
        await step.do("after", AGAIN, job(f"after {name}", seconds=1))

    async def sets():
        await step.sleep("nap", "3 seconds")
        ready.set()

    await asyncio.gather(waits("a"), waits("b"), sets(), waits("c"))
    return order


@program("locks", ["got 1", "got 2"])
async def a_condition_between_branches(event, step):
    condition, stock, order = asyncio.Condition(), [], []

    async def takes(n):
        async with condition:
            await condition.wait_for(lambda: len(stock) >= n)
            order.append(f"got {n}")
            say(order)
            await step.do("takes", AGAIN, job(f"takes {n}", seconds=1))

    async def brings():
        for n in range(2):
            item = await step.do("brings", AGAIN, job(f"brings {n}", n, seconds=2))
            async with condition:
                stock.append(item)
                condition.notify_all()

    await asyncio.gather(takes(2), takes(1), brings())
    return order


@program("locks", [[0, 1, 2], [0, 1, 2]])
async def a_barrier_between_branches(event, step):
    barrier, rounds = asyncio.Barrier(3), [[], []]

    async def branch(n):
        for number, came in enumerate(rounds):
            await step.do("work", AGAIN, job(f"work {n} {number}", seconds=3 - n + 0.1 * number))
            await barrier.wait()
            came.append(n)
            say(number, n)

    await asyncio.gather(*(branch(n) for n in range(3)))
    return [sorted(came) for came in rounds]


# Races


def race(cancel: bool) -> Any:
    """A race of an event against a sleep, whose loser is cancelled or left; a later wait for another such event."""

    async def racing(event, step):
        came = asyncio.create_task(step.wait_for_event("approval", "approve"), name="came")
        timer = asyncio.create_task(step.sleep("deadline", "10 seconds"), name="timer")
        done, pending = await asyncio.wait([came, timer], return_when=asyncio.FIRST_COMPLETED)
        say(sorted(task.get_name() for task in done))
        if cancel:
            for task in pending:
                task.cancel()
        path = await step.do("decided", AGAIN, job("decided", "approved" if came in done else "timed out"))
        await step.sleep("rest", "20 seconds")
        late = None
        if timer in done and cancel:
            late = (await step.wait_for_event("late", "approve", timeout="5 seconds")).payload
        say(path, late)
        return [path, late]

    return racing


for _name, _cancel, _events, _returns, _same in (
    ("an_event_beats_a_sleep_that_is_cancelled", True, [(3, "approve", "yes")], ["approved", None], "trace"),
    ("an_event_beats_a_sleep_that_is_left", False, [(3, "approve", "yes")], ["approved", None], "trace"),
    ("a_sleep_beats_an_event_that_another_wait_gets", True, [(12, "approve", "l")], ["timed out", "l"], "trace"),
    ("a_sleep_beats_an_event_whose_wait_is_left", False, [(12, "approve", "l")], ["timed out", None], "trace"),
    ("an_event_at_the_moment_of_a_sleep", False, [(10, "approve", "tie")], None, "history"),
):
    _race = race(_cancel)
    _race.__name__ = _name
    PROGRAMS.append(Program(_race, "races", _returns, _events, _same))


@program("races", ["step", "sleep", "timeout", "event"], events=[(31, "go", "event")])
async def races_of_four_kinds(event, step):
    won = []
    for turn, (work, nap, limit) in enumerate(((2, 5, 9), (5, 2, 9), (9, 5, 2), (20, 30, 9))):
        tasks = [
            asyncio.create_task(step.do("work", AGAIN, job(f"work {turn}", "step", seconds=work)), name="step"),
            asyncio.create_task(step.sleep("nap", f"{nap} seconds"), name="sleep"),
            asyncio.create_task(step.wait_for_event("go", "go"), name="event"),
        ]
        try:
            async with asyncio.timeout(limit if turn < 3 else 100):
                if turn == 3:
                    winner = tasks[2]
                    await winner
                else:
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    (winner,) = done
            won.append(winner.get_name())
        except TimeoutError:
            won.append("timeout")
        say(won)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await step.do("between", AGAIN, job(f"between {turn}"))
    return won


# Timers of asyncio


@program("timers", [[5, 5, 5], "slept"])
async def sleeps_of_asyncio_alone(event, step):
    loop, took = asyncio.get_running_loop(), []
    for _ in range(3):
        began = loop.time()
        await asyncio.sleep(5)
        took.append(round(loop.time() - began))
        say(took)
    return [took, await asyncio.sleep(1, "slept")]


@program("timers", [0, 1, 2])
async def sleeps_of_asyncio_in_branches(event, step):
    async def branch(n):
        await asyncio.sleep(4 * n)
        await step.do(f"a {n}", AGAIN, job(f"a {n}", seconds=9 - 3 * n))
        say("a", n)
        await step.sleep(f"s {n}", "6 seconds")
        await asyncio.sleep(0.3 * n)
        return await step.do(f"b {n}", AGAIN, job(f"b {n}", n))

    return await asyncio.gather(*(branch(n) for n in range(3)))


@program("timers", ["next", "beside"])
async def a_task_beside_the_main_one(event, step):
    async def beside():
        await asyncio.sleep(1)
        return await step.do("beside", AGAIN, job("beside", "beside"))

    task = asyncio.create_task(beside())
    await step.do("main", AGAIN, job("main", seconds=2))
    await step.sleep("rest", "6 seconds")
    return [await step.do("next", AGAIN, job("next", "next")), await task]


@program("timers", ["too late", "gave up"])
async def a_timeout_around_a_step(event, step):
    hit = "in time"
    try:
        async with asyncio.timeout(3):
            await step.do("work", AGAIN, job("work", seconds=10))
    except TimeoutError:
        hit = "too late"
        say(hit)
    await step.sleep("rest", "20 seconds")
    return [hit, await step.do("give up", AGAIN, job("give up", "gave up"))]


@program("timers", ["too late", "gave up"])
async def a_timeout_around_a_sleep(event, step):
    hit = "in time"
    try:
        async with asyncio.timeout(3):
            await step.sleep("nap", "10 seconds")
    except TimeoutError:
        hit = "too late"
        say(hit)
    return [hit, await step.do("give up", AGAIN, job("give up", "gave up"))]


@program("timers", ["too late", "gave up"])
async def a_timeout_around_a_wait(event, step):
    hit = "in time"
    try:
        async with asyncio.timeout(10):
            await step.wait_for_event("approval", "approve")
    except TimeoutError:
        hit = "too late"
        say(hit)
    return [hit, await step.do("give up", AGAIN, job("give up", "gave up"))]


@program("timers", ["too late", "gave up"])
async def a_timeout_around_a_child(event, step):
    hit = "in time"
    try:
        async with asyncio.timeout(3):
            await step.run_workflow("child", Child, {"seconds": 10, "value": 1})
    except TimeoutError:
        hit = "too late"
        say(hit)
    await step.sleep("rest", "20 seconds")
    return [hit, await step.do("give up", AGAIN, job("give up", "gave up"))]


@program("timers", ["too late", "gave up"])
async def a_timeout_around_retries(event, step):
    retries = {"retries": {"limit": 100, "delay": "2 seconds", "backoff": "constant"}}
    hit = "in time"
    try:
        async with asyncio.timeout(5.5):
            await step.do("fails", retries, job("fails", down_for=1000))
    except TimeoutError:
        hit = "too late"
        say(hit)
    await step.sleep("rest", "20 seconds")
    return [hit, await step.do("give up", AGAIN, job("give up", "gave up"))]


@program("timers", ["work", "go"], events=[(6, "go", "go")])
async def timeouts_that_are_not_reached(event, step):
    async with asyncio.timeout(5):
        work = await step.do("work", AGAIN, job("work", "work", seconds=4))
    async with asyncio.timeout(5):
        came = await step.wait_for_event("go", "go")
    say(work, came.payload)
    await step.sleep("rest", "20 seconds")
    return [work, came.payload]


@program("timers", ["inner", "outer"])
async def timeouts_inside_each_other(event, step):
    hit = []
    try:
        async with asyncio.timeout(7):
            try:
                async with asyncio.timeout(3):
                    await step.sleep("nap", "100 seconds")
            except TimeoutError:
                hit.append("inner")
                say(hit)
            await step.do("between", AGAIN, job("between", seconds=1))
            await step.wait_for_event("never", "never")
    except TimeoutError:
        hit.append("outer")
        say(hit)
    await step.do("after", AGAIN, job("after"))
    return hit


@program("timers", ["moved", 8])
async def a_timeout_that_is_moved(event, step):
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(3) as limit:
            await step.do("work", AGAIN, job("work", seconds=2))
            limit.reschedule(began + 8)
            say("moved")
            await step.wait_for_event("never", "never")
    except TimeoutError:
        took = round(loop.time() - began)
    say(took)
    return ["moved", await step.do("after", AGAIN, job("after", took))]


@program("timers", ["none", "a", "b"], events=[(4, "go", "a"), (9, "go", "b")])
async def wait_for_with_and_without_a_timeout(event, step):
    found = []
    for seconds in (2, 5, None):
        try:
            found.append((await asyncio.wait_for(step.wait_for_event("go", "go"), seconds)).payload)
        except TimeoutError:
            found.append("none")
        say(found[-1])
    return found


@program("timers", "called")
async def a_call_later(event, step):
    loop = asyncio.get_running_loop()
    called = loop.create_future()
    loop.call_later(5, called.set_result, "called")
    never = loop.call_later(2, say, "never")
    never.cancel()
    loop.call_at(loop.time() + 3, say, "at")
    await step.do("work", AGAIN, job("work", seconds=1))
    value = await called
    say(value)
    return await step.do("note", AGAIN, job("note", value))


@program("timers", [1, 2, 3])
async def a_timer_that_sets_itself_anew(event, step):
    loop = asyncio.get_running_loop()
    ticks: list[int] = []

    def tick():
        ticks.append(len(ticks) + 1)
        say("tick", len(ticks))
        if len(ticks) < 3:
            loop.call_later(4, tick)

    loop.call_later(4, tick)
    await step.do("work", AGAIN, job("work", seconds=6))
    await step.sleep("nap", "10 seconds")
    return ticks


# Cancelled branches


def cancelling(name: str, what: Callable[[Any], Any], lasts: float = 600) -> None:
    """Add a program that cancels a branch in the middle of something after 4 seconds, and goes on."""

    async def run(event, step):
        async def branch():
            try:
                await what(step)
            except asyncio.CancelledError:
                say("cancelled")
                raise

        task = asyncio.create_task(branch())
        await step.sleep("a moment", "4 seconds")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for n in range(3):
            await step.sleep("rest", "10 seconds")
            say(n, task.cancelled())
        return await step.do("next", AGAIN, job("next", "went on"))

    run.__name__ = name
    PROGRAMS.append(Program(run, "cancelled", "went on", lasts=lasts))


_SLOWLY: Any = {"retries": {"limit": 100, "delay": "3 seconds", "backoff": "constant"}}

cancelling("a_cancelled_step", lambda step: step.do("slow", AGAIN, job("slow", seconds=15)))
cancelling("a_cancelled_sleep", lambda step: step.sleep("long", "1 hour"))
cancelling("a_cancelled_wait", lambda step: step.wait_for_event("never", "never", timeout="20 seconds"))
cancelling("a_cancelled_child", lambda step: step.run_workflow("child", Child, {"seconds": 17, "value": 1}))
cancelling("a_cancelled_delay_of_a_retry", lambda step: step.do("fails", _SLOWLY, job("fails", down_for=15)))
cancelling("a_cancelled_sleep_of_asyncio", lambda step: asyncio.sleep(3600))


@program("cancelled", ["second", "third"], events=[(2, "go", "second"), (9, "go", "third")])
async def a_cancelled_wait_takes_no_event(event, step):
    first = asyncio.create_task(step.wait_for_event("first", "go"))
    await step.sleep("a while", "1 second")
    first.cancel()
    await step.do("cancelled", AGAIN, job("cancelled"))
    say("again")
    found = [(await step.wait_for_event(name, "go", timeout="20 seconds")).payload for name in ("second", "third")]
    say(found)
    return found


@program("cancelled", "went on")
async def a_task_cancelled_before_it_began(event, step):
    task = asyncio.create_task(step.do("never", AGAIN, job("never")))
    task.cancel()
    await asyncio.wait([task])
    say(task.cancelled())
    return await step.do("next", AGAIN, job("next", "went on", seconds=1))


@program("cancelled", "went on")
async def a_step_cancelled_in_the_turn_it_was_asked_for(event, step):
    task = asyncio.create_task(step.sleep("nap", "1 hour"))
    await step.do("first", AGAIN, job("first", seconds=1))
    late = asyncio.create_task(step.do("never", AGAIN, job("never", seconds=5)))
    await asyncio.sleep(0)
    late.cancel()
    task.cancel()
    await asyncio.wait([task, late])
    say(task.cancelled(), late.cancelled())
    await step.sleep("rest", "20 seconds")
    return await step.do("next", AGAIN, job("next", "went on"))


@program("cancelled", ["not now", "then"])
async def a_branch_that_goes_on_after_it_was_cancelled(event, step):
    async def branch():
        try:
            await step.sleep("long", "1 hour")
        except asyncio.CancelledError:
            say("not now")
        return await step.do("then", AGAIN, job("then", "then", seconds=2))

    task = asyncio.create_task(branch())
    await step.sleep("a moment", "1 second")
    task.cancel()
    value = await task
    await step.sleep("rest", "10 seconds")
    return ["not now", value]


@program("cancelled", "fast")
async def a_cancelled_loser_is_not_begun_again(event, step):
    slow = asyncio.create_task(step.do("slow", AGAIN, job("slow", "slow", seconds=5)))
    fast = asyncio.create_task(step.do("fast", AGAIN, job("fast", "fast", seconds=2)))
    done, pending = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
    winner = await step.do("winner", AGAIN, job("winner", "fast" if fast in done else "slow"))
    for task in pending:
        task.cancel()
    for n in range(3):
        await step.sleep(f"day {n}", "5 seconds")
        say(n)
    return winner


@program("cancelled", "went on")
async def a_cancelled_function_in_a_thread(event, step):
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.do("charge", AGAIN, held_in_a_thread("charge")))
            error = NonRetryableError("no stock")
            group.create_task(step.do("stock", AGAIN, job("stock", error=error, seconds=3)))
    except* NonRetryableError:
        say("no stock")
    await step.sleep("rest", "6 seconds")
    await step.do("let go", AGAIN, let_threads_go)
    await step.sleep("rest", "6 seconds")
    return await step.do("next", AGAIN, job("next", "went on"))


@program("cancelled", ["yes", "next"], events=[(25, "answer", "yes")])
async def reminders_until_an_answer(event, step):
    async def remind():
        for n in range(10):
            await step.sleep("a while", "10 seconds")
            await step.do("remind", AGAIN, job(f"remind {n}", seconds=1))
            say("reminded", n)

    reminder = asyncio.create_task(remind())
    answer = await step.wait_for_event("answer", "answer", timeout="1000 seconds")
    reminder.cancel()
    await step.sleep("rest", "30 seconds")
    return [answer.payload, await step.do("next", AGAIN, job("next", "next"))]


# Cleaning up


@program("cleanup", "cleaned")
async def a_cleanup_step_of_a_cancelled_branch(event, step):
    async def branch():
        try:
            await step.wait_for_event("never", "never")
        except asyncio.CancelledError:
            say("cancelled")
            return await step.do("cleanup", AGAIN, job("cleanup", "cleaned", seconds=1))

    task = asyncio.create_task(branch())
    await step.sleep("a moment", "1 second")
    task.cancel()
    value = await task
    say(value)
    await step.sleep("rest", "6 seconds")
    return value


@program("cleanup", ["released b", "released a"])
async def cleanup_steps_in_finally(event, step):
    released = []

    async def branch():
        try:
            try:
                await step.do("work", AGAIN, job("work", seconds=30))
            finally:
                released.append(await step.do("release", AGAIN, job("release b", "released b", seconds=2)))
        finally:
            released.append(await step.do("release", AGAIN, job("release a", "released a")))

    task = asyncio.create_task(branch())
    await step.sleep("a moment", "4 seconds")
    task.cancel()
    await asyncio.wait([task])
    say(task.cancelled(), released)
    await step.sleep("rest", "6 seconds")
    return released


@program("cleanup", ["cleanup of the timeout", "went on"])
async def a_cleanup_step_within_a_timeout(event, step):
    cleaned = []
    try:
        async with asyncio.timeout(3):
            try:
                await step.wait_for_event("never", "never")
            finally:
                cleaned.append(await step.do("cleanup", AGAIN, job("cleanup", "cleanup of the timeout", seconds=2)))
    except TimeoutError:
        say("too late", cleaned)
    return [*cleaned, await step.do("next", AGAIN, job("next", "went on", seconds=1))]


@program("cleanup", list(range(8)), same="value")
async def a_set_of_cancelled_tasks_with_cleanup_steps(event, step):
    cleaned = []

    async def branch(n):
        try:
            await step.sleep("long", "100 seconds")
        except asyncio.CancelledError:
            say("cancelled", n)
            cleaned.append(await step.do("cleanup", AGAIN, job(f"cleanup {n}", n, seconds=1 + n)))
            raise

    tasks = {asyncio.create_task(branch(n)) for n in range(8)}
    await step.sleep("a moment", "1 second")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    say(cleaned)
    return sorted(cleaned)


# Steps inside a step


@program("inner steps", ["inner", "outer"], inner=("inner",))
async def a_step_inside_a_step(event, step):
    async def outer():
        inner = await step.do("inner", AGAIN, job("inner", "inner", seconds=2))
        got("inner")
        await perform("outer", seconds=5)
        return [inner, "outer"]

    found = await step.do("outer", AGAIN, outer)
    say(found)
    await step.sleep("rest", "6 seconds")
    return found


@program("inner steps", ["slept", "came"], events=[(9, "go", "came")], inner=("inner",))
async def a_sleep_and_a_wait_inside_a_step(event, step):
    async def outer():
        await step.sleep("nap", "5 seconds")
        await step.do("inner", AGAIN, job("inner", seconds=1))
        got("inner")
        came = await step.wait_for_event("news", "go")
        await perform("last", seconds=2)
        return ["slept", came.payload]

    found = await step.do("outer", AGAIN, outer)
    say(found)
    return found


@program("inner steps", ["second", "second"], inner=("first", "second"))
async def a_race_inside_a_step(event, step):
    async def race():
        tasks = [
            asyncio.create_task(step.do(name, AGAIN, job(name, name, seconds=seconds)))
            for name, seconds in (("first", 8), ("second", 2))
        ]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(iter(done)).result()
        got(winner)
        for task in pending:
            task.cancel()
        await perform("after the race", seconds=1)
        return winner

    won = await step.do("race", AGAIN, race)
    say(won)
    await step.sleep("rest", "6 seconds")
    return [won, await step.do("next", AGAIN, job("next", won))]


@program("inner steps", [1, 2, "up"], inner=("inner 1", "inner 2"))
async def an_outer_step_that_is_retried(event, step):
    async def outer():
        found = []
        for n in (1, 2):
            found.append(await step.do(f"inner {n}", AGAIN, job(f"inner {n}", n, seconds=1)))
            got(f"inner {n}")
        return [*found, await perform("outer", "up", down_for=10)]

    found = await step.do("outer", _SLOWLY, outer)
    say(found)
    await step.sleep("rest", "6 seconds")
    return found


@program("inner steps", ["low", "middle", "high"], inner=("low", "middle"))
async def steps_three_levels_deep(event, step):
    async def middle():
        low = await step.do("low", AGAIN, job("low", "low", seconds=1))
        got("low")
        await perform("in the middle", seconds=1)
        return [low, "middle"]

    async def high():
        found = await step.do("middle", AGAIN, middle)
        await perform("on top", seconds=1)
        return [*found, "high"]

    found = await step.do("high", AGAIN, high)
    say(found)
    await step.sleep("rest", "6 seconds")
    return found


@program("inner steps", [["inner of a", "a"], ["inner of b", "b"]], inner=("inner",))
async def equal_inner_names_in_two_outer_steps(event, step):
    async def outer(name, seconds):
        await perform(f"before {name}", seconds=seconds)
        inner = await step.do("inner", AGAIN, job(f"inner of {name}", f"inner of {name}", seconds=seconds))
        got(f"inner of {name}")
        await perform(f"after {name}", seconds=2 * seconds)
        return [inner, name]

    async def branch(name, seconds):
        found = await step.do("outer", AGAIN, outer, name, seconds)
        say(found)
        return found

    found = await asyncio.gather(branch("a", 3), branch("b", 2))
    await step.sleep("rest", "6 seconds")
    return found


@program("inner steps", ["too late", "gave up"], inner=("quick", "slow"))
async def an_outer_step_that_is_cancelled(event, step):
    async def outer():
        await step.do("quick", AGAIN, job("quick", seconds=1))
        got("quick")
        await step.do("slow", AGAIN, job("slow", seconds=50))

    hit = "in time"
    try:
        async with asyncio.timeout(5):
            await step.do("outer", AGAIN, outer)
    except TimeoutError:
        hit = "too late"
        say(hit)
    await step.sleep("rest", "60 seconds")
    return [hit, await step.do("give up", AGAIN, job("give up", "gave up"))]


@program("inner steps", ["caught: no stock", "next"], inner=("inner",))
async def an_inner_step_that_fails(event, step):
    async def outer():
        try:
            await step.do("inner", AGAIN, job("inner", error=NonRetryableError("no stock"), seconds=1))
        except NonRetryableError as error:
            got("inner")
            await perform("outer", seconds=2)
            return f"caught: {error}"

    caught = await step.do("outer", AGAIN, outer)
    say(caught)
    return [caught, await step.do("next", AGAIN, job("next", "next"))]


# Children


@program("children", [0, 1, 2])
async def children_in_parallel(event, step):
    async def child(n):
        value = await step.run_workflow("child", Child, {"seconds": 9 - 3 * n, "value": n})
        say(value)
        await step.do("after", AGAIN, job(f"after {n}"))
        return value

    found = await asyncio.gather(*(child(n) for n in range(3)))
    await step.sleep("rest", "6 seconds")
    return found


@program("children", ["ValueError: broken", "sound"])
async def a_child_that_fails_beside_another(event, step):
    found = await asyncio.gather(
        step.run_workflow("breaks", Child, {"seconds": 2, "fail": "broken"}, id=f"{event.instance_id}-breaks"),
        step.run_workflow("works", Child, {"seconds": 5, "value": "sound"}, id=f"{event.instance_id}-works"),
        return_exceptions=True,
    )
    say(found)
    return [described(found[0]), found[1]]


@program("children", ["child", "child after all"])
async def a_child_in_a_race(event, step):
    child = asyncio.create_task(step.run_workflow("child", Child, {"seconds": 3, "value": "child"}))
    timer = asyncio.create_task(step.sleep("deadline", "20 seconds"))
    done, _ = await asyncio.wait([child, timer], return_when=asyncio.FIRST_COMPLETED)
    timer.cancel()
    say(child in done, timer in done)
    await step.sleep("rest", "30 seconds")
    slow = asyncio.create_task(step.run_workflow("slow", Child, {"seconds": 9, "value": "child after all"}))
    try:
        await asyncio.wait_for(asyncio.shield(slow), 4)
    except TimeoutError:
        say("not yet")
    return [child.result(), await slow]


# Recorded values


@program("values", [True, True, True], same="value")
async def recorded_values_in_branches(event, step):
    async def branch(n):
        await step.do("work", AGAIN, job(f"work {n}", seconds=3 - n))
        now, id, chance = step.now(), step.uuid(), step.random()
        await step.sleep("nap", "2 seconds")
        say(n, now, id, chance)  # not before something later is on disk, as the values are with it
        return id

    first, began = step.uuid(), step.now()
    ids = await asyncio.gather(*(branch(n) for n in range(3)))
    say(first, began)
    took = (step.now() - began).total_seconds()
    return [len({first, *ids}) == 4, took >= 5, 0 <= step.random() < 1]


@program("values", "went on", same="value")
async def a_path_by_chance(event, step):
    chance = step.random()
    name = "heads" if chance < 0.5 else "tails"
    await step.do(name, AGAIN, job(name, seconds=1))
    say(name, chance)
    await step.sleep("nap", "2 seconds")
    say(await step.do(f"{name} again", AGAIN, job(f"{name} again", name)))
    return "went on"


# Context variables

_tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


@program("context", ["ada", ["ada", "ada"], "ada", "grace", "ada"])
async def a_step_gets_a_copy_of_the_context(event, step):
    async def sets():
        before = _tenant.get()
        _tenant.set("a step")
        return before

    async def branch():
        _tenant.set("grace")
        await step.do("nothing", AGAIN, job("nothing", seconds=1))
        return _tenant.get()

    def in_thread():
        return _tenant.get()

    _tenant.set("ada")
    first = await step.do("sets", AGAIN, sets)
    say(_tenant.get())
    in_threads = [await step.do("reads", AGAIN, in_thread), await step.do("reads", AGAIN, in_thread)]
    after = _tenant.get()
    grace = await asyncio.create_task(branch())
    await step.sleep("nap", "1 second")
    say(first, in_threads, after, grace, _tenant.get())
    return [first, in_threads, after, grace, _tenant.get()]


# Threads


@program("threads", [6, "thread"])
async def plain_functions_in_threads(event, step):
    first = await step.do("one", AGAIN, in_a_thread("one", 1))
    second = await step.do("two", AGAIN, in_a_thread("two", 2))
    await step.sleep("nap", "1 second")
    third = await step.do("three", AGAIN, in_a_thread("three", 3))
    say(first, second, third)
    return [first + second + third, await step.do("last", AGAIN, in_a_thread("last", "thread"))]


# Retries


@program("retries", ["a", "b", "c"])
async def retries_with_delays_in_branches(event, step):
    async def branch(name, seconds, delay):
        retries = {"retries": {"limit": 100, "delay": f"{delay} seconds", "backoff": "constant"}}
        value = await step.do("call", retries, job(f"call {name}", name, down_for=seconds))
        say(value)
        await step.sleep("nap", "1 second")
        return value

    return await asyncio.gather(branch("a", 25, 10), branch("b", 0, 0), branch("c", 7, 4))


@program("retries", ["NonRetryableError: enough", "ConnectionError: gives up is down"], same="history")
async def retries_that_end(event, step):
    async def guarded(name, work):
        try:
            await work
        except Exception as error:
            say(name, described(error))
            return described(error)

    twice = {"retries": {"limit": 1, "delay": "4 seconds", "backoff": "constant"}}
    found = await asyncio.gather(
        guarded("enough", step.do("enough", AGAIN, job("enough", error=NonRetryableError("enough"), seconds=2))),
        guarded("gives up", step.do("gives up", twice, job("gives up", down_for=1000))),
    )
    await step.sleep("rest", "6 seconds")
    return found


# Async generators


@program("generators", [0, 1, 2, "closed"])
async def an_async_generator_of_steps(event, step):
    async def items():
        try:
            for n in range(10):
                yield await step.do("item", AGAIN, job(f"item {n}", n, seconds=1))
                await step.sleep("apart", "2 seconds")
        finally:
            found.append(await step.do("close", AGAIN, job("close", "closed")))

    found: list[Any] = []
    async with contextlib.aclosing(items()) as coming:
        async for item in coming:
            found.append(item)
            say(found)
            if item == 2:
                break
    await step.sleep("rest", "6 seconds")
    return found


@program("generators", [["x", "x", "x"], ["y", "y", "y"]])
async def async_generators_in_branches(event, step):
    async def items(name, seconds):
        for _ in range(3):
            await step.sleep(f"apart {name}", f"{seconds} seconds")
            yield name

    async def branch(name, seconds):
        found = []
        async for item in items(name, seconds):
            found.append(await step.do("use", AGAIN, job(f"use {name} {len(found)}", item)))
            say(item, len(found))
        return found

    return await asyncio.gather(branch("x", 3), branch("y", 2.3))


# Declared steps


@program("declared", [10, 2, 12])
async def declared_steps(event, step):
    @step.do("price", config=AGAIN)
    async def price():
        return await perform("price", 10, seconds=2)

    @step.do("tax", config=AGAIN)
    async def tax(price):
        return await perform("tax", price // 5, seconds=1)

    @step.do("total", config=AGAIN)
    async def total(price, tax):
        return await perform("total", price + tax, seconds=1)

    whole = await total()
    say(whole)
    await step.sleep("rest", "6 seconds")
    return [await price.result(), await tax.result(), whole]


@program("declared", "a b c")
async def declared_steps_that_run_together(event, step):
    @step.do("a", config=AGAIN)
    async def a():
        return await perform("a", "a", seconds=5)

    @step.do("b", config=AGAIN)
    async def b():
        return await perform("b", "b", seconds=2)

    @step.do("c", config=AGAIN)
    async def c(a):
        return await perform("c", f"{a[:0]}c", seconds=1)

    @step.do("all", config=AGAIN, concurrent=True)
    async def together(a, b, c):
        return await perform("all", f"{a} {b} {c}", seconds=1)

    found = await together()
    say(found)
    await step.sleep("rest", "6 seconds")
    return found


# Further constructs of asyncio


@program("task group", ["ValueError: bad", "KeyError: 'gone'", "went on"], same="value")
async def except_star_in_nested_groups(event, step):
    found = []

    async def fails(name, error, seconds):
        await step.do("work", AGAIN, job(f"work {name}", seconds=seconds))
        raise error

    async def group_of_two():
        async with asyncio.TaskGroup() as inner:
            inner.create_task(fails("a", ValueError("bad"), 2))
            inner.create_task(step.do("slow", AGAIN, job("slow", seconds=30)))

    try:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(group_of_two())
            outer.create_task(step.sleep("long", "1 hour"))
    except* ValueError as group:
        found.append(described(group.exceptions[0].exceptions[0]))
    try:
        async with asyncio.TaskGroup() as outer:
            outer.create_task(fails("b", KeyError("gone"), 1))
    except* KeyError as group:
        found.append(described(group.exceptions[0]))
    say(found)
    await step.sleep("rest", "6 seconds")
    return [*found, await step.do("next", AGAIN, job("next", "went on"))]


@program("locks", [1, 2, 3])
async def a_priority_queue_between_branches(event, step):
    queue: asyncio.PriorityQueue[int] = asyncio.PriorityQueue()
    found = []

    async def puts(n, seconds):
        queue.put_nowait(await step.do("make", AGAIN, job(f"make {n}", n, seconds=seconds)))

    async with asyncio.TaskGroup() as group:
        for n, seconds in ((3, 1), (1, 2), (2, 3)):
            group.create_task(puts(n, seconds))
    while not queue.empty():
        found.append(await step.do("use", AGAIN, job(f"use {len(found)}", await queue.get(), seconds=1)))
        say(found)
    return found


@program("locks", ["BrokenBarrierError", "passed"])
async def a_barrier_that_is_aborted(event, step):
    barrier = asyncio.Barrier(2)

    async def waits():
        try:
            await barrier.wait()
        except asyncio.BrokenBarrierError as error:
            say("broken")
            return type(error).__name__

    waiting = asyncio.create_task(waits())
    await step.do("work", AGAIN, job("work", seconds=2))
    await barrier.abort()
    broken = await waiting
    await barrier.reset()
    both = asyncio.gather(barrier.wait(), barrier.wait())
    await step.sleep("rest", "3 seconds")
    await both
    return [broken, "passed"]


@program("timers", ["too late", "too late"])
async def timeouts_at_a_moment(event, step):
    loop, found = asyncio.get_running_loop(), []
    for turn in range(2):
        try:
            async with asyncio.timeout_at(loop.time() + 3):
                await step.do("slow", AGAIN, job(f"slow {turn}", seconds=20))
        except TimeoutError:
            found.append("too late")
            say(found)
        await step.sleep("rest", "2 seconds")
    return found


@program("wait", [[0], [2], [1, 3]])
async def a_wait_for_the_first_exception_in_a_loop(event, step):
    async def work(n, seconds):
        await step.do("work", AGAIN, job(f"work {n}", seconds=seconds))
        if n in (0, 2):
            raise ValueError(n)
        return n

    names = {asyncio.create_task(work(n, (1, 5, 3, 7)[n])): n for n in range(4)}
    pending, found = set(names), []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        found.append(sorted(names[task] for task in done))
        say(found, [task.exception() is not None for task in done])
        await step.do("between", AGAIN, job(f"between {len(found)}"))
    return found


@program("cleanup", ["closed b", "closed a", "CancelledError"])
async def an_exit_stack_that_is_cancelled(event, step):
    closed = []

    @contextlib.asynccontextmanager
    async def resource(name):
        await step.do("open", AGAIN, job(f"open {name}", seconds=1))
        try:
            yield name
        finally:
            closed.append(await step.do("close", AGAIN, job(f"close {name}", f"closed {name}", seconds=1)))
            say(closed)

    async def uses():
        async with contextlib.AsyncExitStack() as stack:
            for name in "ab":
                await stack.enter_async_context(resource(name))
            await step.wait_for_event("never", "never")

    task = asyncio.create_task(uses())
    await step.sleep("a moment", "5 seconds")
    task.cancel()
    found = await asyncio.gather(task, return_exceptions=True)
    await step.sleep("rest", "6 seconds")
    return [*closed, described(found[0])]


@program("cleanup", ["saved", True])
async def a_shielded_step_awaited_in_finally(event, step):
    saved = []

    async def branch():
        saving = asyncio.ensure_future(step.do("save", AGAIN, job("save", "saved", seconds=6)))
        try:
            await asyncio.shield(saving)
        finally:
            saved.append(await saving)
            say(saved)

    task = asyncio.create_task(branch())
    await step.sleep("a moment", "2 seconds")
    task.cancel()
    await asyncio.wait([task])
    return [*saved, task.cancelled()]


@program("cancelled", [True, "went on"])
async def a_task_cancelled_before_it_starts(event, step):
    task = asyncio.create_task(step.do("never", AGAIN, job("never")))
    task.cancel()
    await asyncio.wait([task])
    say(task.cancelled())
    await step.sleep("rest", "2 seconds")
    return [task.cancelled(), await step.do("next", AGAIN, job("next", "went on"))]


@program("cancelled", ["kept going", 0])
async def a_task_that_takes_its_cancellation_back(event, step):
    async def branch():
        me = asyncio.current_task()
        try:
            await step.sleep("long", "1 hour")
        except asyncio.CancelledError:
            me.uncancel()
            say("uncancelled", me.cancelling())
        async with asyncio.timeout(30):
            value = await step.do("work", AGAIN, job("work", "kept going", seconds=2))
        return [value, me.cancelling()]

    task = asyncio.create_task(branch())
    await step.sleep("a moment", "2 seconds")
    task.cancel()
    found = await task
    await step.sleep("rest", "2 seconds")
    return found


@program("context", [["a", "a"], ["b", "b"], "main"])
async def context_variables_in_branches(event, step):
    async def branch(name, seconds):
        _tenant.set(name)

        async def reads():
            return _tenant.get()

        inside = await step.do("reads", AGAIN, reads)
        await step.sleep("nap", f"{seconds} seconds")
        say(name, _tenant.get())
        return [inside, _tenant.get()]

    _tenant.set("main")
    found = await asyncio.gather(branch("a", 3), branch("b", 2))
    await step.do("last", AGAIN, job("last"))
    return [*found, _tenant.get()]


@program("generators", [["a0", "b0", "b1", "a1"], "went on"])
async def merged_async_generators(event, step):
    async def items(name, seconds):
        for n in range(2):
            yield await step.do(f"item {name}", AGAIN, job(f"item {name} {n}", f"{name}{n}", seconds=seconds[n]))

    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def drains(coming):
        async for item in coming:
            await queue.put(item)
        await queue.put(None)

    merged, open_ones = [], 2
    async with asyncio.TaskGroup() as group:
        group.create_task(drains(items("a", (1, 9))))
        group.create_task(drains(items("b", (2, 3))))
        while open_ones:
            item = await queue.get()
            if item is None:
                open_ones -= 1
            else:
                merged.append(item)
                say(merged)
    return [merged, await step.do("next", AGAIN, job("next", "went on"))]


@program("generators", [0, "thrown: enough", "went on"])
async def an_async_generator_that_is_thrown_into(event, step):
    async def items():
        try:
            yield await step.do("item", AGAIN, job("item", 0, seconds=1))
            yield 1
        except ValueError as error:
            yield await step.do("caught", AGAIN, job("caught", f"thrown: {error}", seconds=1))

    coming = items()
    found = [await anext(coming), await coming.athrow(ValueError("enough"))]
    await coming.aclose()
    say(found)
    await step.sleep("rest", "2 seconds")
    return [*found, await step.do("next", AGAIN, job("next", "went on"))]


@program("shield", ["RuntimeError", "went on"])
async def a_loop_of_its_own_is_refused(event, step):
    async def nothing():
        pass

    coro = nothing()
    try:
        asyncio.run(coro)
    except RuntimeError as error:
        refused = type(error).__name__
    finally:
        coro.close()
    say(refused)
    await step.sleep("rest", "2 seconds")
    return [refused, await step.do("next", AGAIN, job("next", "went on"))]


BY_NAME = {one.name: one for one in PROGRAMS}

WORKERS = [
    "equal_names_in_all_branches",
    "the_first_error_of_a_gather",
    "a_task_group_that_fails",
    "a_sliding_window",
    "as_completed_over_tasks",
    "a_lock_between_branches",
    "a_sleep_beats_an_event_that_another_wait_gets",
    "a_timeout_around_a_wait",
    "sleeps_of_asyncio_in_branches",
    "a_cancelled_loser_is_not_begun_again",
    "a_cleanup_step_of_a_cancelled_branch",
    "an_outer_step_that_is_retried",
    "children_in_parallel",
]
"""Programs that are moved from worker to worker."""
