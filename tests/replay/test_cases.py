"""Programs that once went wrong when they were replayed, each with the right value."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from engine.virtual import flow
from everstep import NonRetryableError

from .interrupting import KEPT, NOT_KEPT, WAYS, interrupt

ONCE = {"retries": {"limit": 0}}
MANY = 30

every_way = pytest.mark.parametrize("way", WAYS)


class Calls(list[str]):
    """What step functions did."""

    def __init__(self, machine=None) -> None:
        super().__init__()
        self.machine = machine

    async def lasting(self, seconds, value=None):
        """Last for a while of the virtual time."""
        reached = asyncio.get_running_loop().create_future()
        self.machine.clock.call_at(
            self.machine.now + round(seconds * 1000), lambda: reached.done() or reached.set_result(None)
        )
        await reached
        return value

    def job(self, what, value=None, seconds=0.0):
        async def call():
            self.append(what)
            if seconds:
                await self.lasting(seconds)
            return value

        return call


@pytest.fixture
def calls():
    return Calls()


@every_way
async def test_two_orders_are_charged_once_each_with_receipts_of_their_own(running, calls, way):
    """`twice.py`: the process dies just before A is charged."""
    dying = [True]

    async def charge(order):
        if order == "A" and dying:
            await asyncio.Event().wait()
        calls.append(order)
        return f"receipt of {order}"

    @flow
    async def batch(event, step):
        async def one(order, seconds):
            await step.do("check stock", calls.lasting, seconds)
            return [order, await step.do("charge", charge, order)]

        return await asyncio.gather(one("A", 5), one("B", 1))

    calls.machine = machine = await running(batch)
    instance = await machine.create(batch)
    await machine.advance("6 seconds")
    assert calls == ["B"]
    dying.clear()
    await interrupt(machine, instance, way)
    await machine.advance("1 minute")
    assert await machine.output(instance) == [["A", "receipt of A"], ["B", "receipt of B"]]
    assert calls == ["B", "A"]


@pytest.mark.crash
def test_two_orders_are_charged_once_each_though_the_process_is_killed(tmp_path):
    command = [sys.executable, str(Path(__file__).with_name("twice.py")), "sqlite:///twice.db", str(tmp_path / "notes")]

    def run(life):
        return subprocess.run([*command, life], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    assert run("1").returncode == -signal.SIGKILL
    second = run("2")
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout) == [["A", "receipt of A"], ["B", "receipt of B"]]
    assert (tmp_path / "notes").read_text().split("\n") == ["charged B", "charged A", ""]


@pytest.mark.parametrize("options", [KEPT, NOT_KEPT], ids=["kept", "not kept"])
async def test_receipts_stay_with_their_orders_in_many_instances(running, calls, options):
    """`cross3.py`."""

    @flow
    async def cross(event, step):
        async def branch(order, seconds):
            await step.do("check", calls.lasting, seconds)
            return [order, await step.do("charge", lambda: f"receipt of {order}")]

        found = await asyncio.gather(branch("A", 3), branch("B", 1))
        await step.sleep("nap", "12 seconds")
        return found

    calls.machine = machine = await running(cross, options=options)
    instances = [await machine.create(cross, id=f"i{n}") for n in range(MANY)]
    await machine.advance("20 seconds")
    outputs = Counter([str(await machine.output(one)) for one in instances])
    assert outputs == {str([["A", "receipt of A"], ["B", "receipt of B"]]): MANY}


@pytest.mark.parametrize("options", [KEPT, NOT_KEPT], ids=["kept", "not kept"])
async def test_what_is_approved_before_the_deadline_is_shipped(running, options):
    """`race3.py`."""

    @flow
    async def approve(event, step):
        timer = asyncio.create_task(step.sleep("deadline", "12 seconds"))
        answer = asyncio.create_task(step.wait_for_event("answer", "approval"))
        done, pending = await asyncio.wait({timer, answer}, return_when=asyncio.FIRST_COMPLETED)
        for one in pending:
            one.cancel()
        approved = answer in done and timer not in done
        await step.sleep("ship tomorrow", "12 seconds")
        return "shipped" if approved else "refunded"

    machine = await running(approve, options=options)
    instances = [await machine.create(approve, id=f"o{n}") for n in range(MANY)]
    for one in instances:
        await one.send_event(type="approval", payload="yes")
    await machine.advance("1 minute")
    assert Counter([await machine.output(one) for one in instances]) == {"shipped": MANY}


@every_way
async def test_wait_for_ends_a_wait_in_time(running, way):
    """`tw.py`."""

    @flow
    async def waits(event, step):
        try:
            return (await asyncio.wait_for(step.wait_for_event("z", "t"), 2)).payload
        except TimeoutError:
            return "timed out"

    machine = await running(waits)
    instance = await machine.create(waits)
    await machine.advance(300)
    await interrupt(machine, instance, way)
    await machine.advance(1_690)
    assert (await instance.status()).status == "waiting"
    await machine.advance(20)
    assert await machine.output(instance) == "timed out"


@every_way
async def test_equal_names_in_all_branches_stay_with_their_own(running, calls, way):
    """`r1_names.py`."""

    @flow
    async def shop(event, step):
        async def buy(item, seconds):
            cost = await step.do("price", calls.lasting, seconds, item)
            receipt = await step.do("charge", calls.job(f"charge {cost}", f"receipt of {cost}"))
            await step.sleep("settle", "6 seconds")
            return [item, await step.do("mail", calls.job(f"mail {item}: {receipt}", receipt))]

        return await asyncio.gather(buy("a", 3), buy("b", 2), buy("c", 1))

    calls.machine = machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("4 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("10 seconds")
    assert await machine.output(instance) == [[item, f"receipt of {item}"] for item in "abc"]
    assert calls == [f"charge {item}" for item in "cba"] + [f"mail {item}: receipt of {item}" for item in "cba"]


@every_way
async def test_a_cancelled_timer_is_no_contradiction(running, calls, way):
    """`r2_timer.py`."""

    @flow
    async def deadline(event, step):
        timer = asyncio.create_task(step.sleep("deadline", "1 hour"))
        await step.do("work", calls.lasting, 0.5)
        timer.cancel()
        await step.sleep("rest", "6 seconds")
        return await step.do("next", lambda: "next")

    calls.machine = machine = await running(deadline)
    instance = await machine.create(deadline)
    await machine.advance("3 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("6 seconds")
    assert await machine.output(instance) == "next"


@every_way
async def test_a_function_in_a_thread_that_lost_is_called_once(running, calls, held, way):
    """`r3_thread.py`."""

    def charge():
        calls.append("charging")
        held.wait()

    async def bad():
        await calls.lasting(1)
        raise NonRetryableError("no stock")

    @flow
    async def group(event, step):
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(step.do("charge", ONCE, charge))
                tasks.create_task(step.do("stock", ONCE, bad))
        except* NonRetryableError:
            pass
        await step.sleep("rest", "6 seconds")
        return await step.do("next", lambda: "next")

    calls.machine = machine = await running(group)
    instance = await machine.create(group)
    await machine.advance("3 seconds")
    await interrupt(machine, instance, way)
    held.release()
    await machine.advance("6 seconds")
    assert await machine.output(instance) == "next"
    assert calls == ["charging"]


@every_way
async def test_a_race_inside_a_step_belongs_to_it(running, calls, way):
    """`r4_race.py`."""

    @flow
    async def races(event, step):
        async def race():
            tasks = [
                asyncio.create_task(step.do("first", calls.job("first", "first", 4))),
                asyncio.create_task(step.do("second", calls.job("second", "second", 1))),
            ]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()

        won = await step.do("race", race)
        await step.sleep("rest", "6 seconds")
        return await step.do("next", lambda: won)

    calls.machine = machine = await running(races)
    instance = await machine.create(races)
    await machine.advance("5 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("6 seconds")
    assert await machine.output(instance) == "second"
    assert calls == ["first", "second"]


@every_way
async def test_a_timeout_around_a_wait_ends_it_in_time(running, way):
    """`r5_timeout.py`."""

    @flow
    async def patient(event, step):
        try:
            async with asyncio.timeout(10):
                await step.wait_for_event("approval", "approve")
        except TimeoutError:
            return await step.do("give up", lambda: "gave up")

    machine = await running(patient)
    instance = await machine.create(patient)
    await machine.advance("3 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("7 seconds")
    assert await machine.output(instance) == "gave up"


@every_way
async def test_branches_that_begin_one_after_the_other_go_on(running, calls, way):
    """`r6_stagger.py`."""

    @flow
    async def staggered(event, step):
        async def branch(n):
            await asyncio.sleep(0.8 * n)
            await step.do(f"a {n}", calls.lasting, 1.0 - 0.75 * n, n)
            await step.sleep(f"s {n}", "0.6 seconds")
            return await step.do(f"b {n}", lambda: n)

        return await asyncio.gather(branch(0), branch(1))

    calls.machine = machine = await running(staggered)
    instance = await machine.create(staggered)
    await machine.advance(1_300)
    await interrupt(machine, instance, way)
    await machine.advance("1 minute")
    assert await machine.output(instance) == [0, 1]


@every_way
async def test_a_cancelled_wait_leaves_the_event_to_the_wait_that_is_there(running, way):
    """`r7_event.py`."""

    @flow
    async def race(event, step):
        came = asyncio.create_task(step.wait_for_event("approval", "approve"))
        timer = asyncio.create_task(step.sleep("deadline", "1 second"))
        done, pending = await asyncio.wait([came, timer], return_when=asyncio.FIRST_COMPLETED)
        for one in pending:
            one.cancel()
        path = await step.do("decided", lambda: "approved" if came in done else "timed out")
        await step.sleep("rest", "6 seconds")
        late = await step.wait_for_event("late", "approve", timeout="20 seconds")
        return [path, late.payload]

    machine = await running(race)
    instance = await machine.create(race)
    await machine.advance("4 seconds")
    await interrupt(machine, instance, way)
    await instance.send_event(type="approve", payload="late")
    await machine.advance("10 seconds")
    assert await machine.output(instance) == ["timed out", "late"]


@every_way
async def test_the_first_error_is_the_same_after_a_replay(running, calls, way):
    """`r8_error.py`."""

    async def fails(seconds, message):
        await calls.lasting(seconds)
        raise ValueError(message)

    @flow
    async def gathers(event, step):
        a = asyncio.create_task(step.do("a", ONCE, fails, 2, "a failed"))
        b = asyncio.create_task(step.do("b", ONCE, fails, 1, "b failed"))
        try:
            await asyncio.gather(a, b)
        except ValueError as error:
            first = str(error)
        await asyncio.wait([a, b])
        assert a.exception()
        await step.sleep("rest", "6 seconds")
        return first

    calls.machine = machine = await running(gathers)
    instance = await machine.create(gathers)
    await machine.advance("4 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("6 seconds")
    assert await machine.output(instance) == "b failed"


@every_way
async def test_a_cleanup_step_runs_once_and_its_result_is_kept(running, calls, way):
    """`r9_cleanup.py`."""

    @flow
    async def cleans_up(event, step):
        async def branch():
            try:
                await step.wait_for_event("never", "never")
            except asyncio.CancelledError:
                return await step.do("cleanup", calls.job("cleanup", "cleaned"))

        task = asyncio.create_task(branch())
        await step.sleep("a moment", "1 second")
        task.cancel()
        found = await task
        await step.sleep("rest", "6 seconds")
        return found

    machine = await running(cleans_up)
    instance = await machine.create(cleans_up)
    await machine.advance("4 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("6 seconds")
    assert await machine.output(instance) == "cleaned"
    assert calls == ["cleanup"]


@every_way
async def test_as_completed_gives_the_same_order_after_a_replay(running, calls, way):
    """`r10_as_completed.py`."""

    @flow
    async def each(event, step):
        tasks = [asyncio.create_task(step.do(f"get {n}", calls.lasting, 3 - n, n)) for n in range(3)]
        pairs = []
        for place, ended in enumerate(asyncio.as_completed(tasks)):
            n = await ended
            pairs.append([n, await step.do(f"post {place}", calls.job(f"post {n}", f"posted {n}"))])
        await step.sleep("rest", "6 seconds")
        return pairs

    calls.machine = machine = await running(each)
    instance = await machine.create(each)
    await machine.advance("4 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("6 seconds")
    assert await machine.output(instance) == [[n, f"posted {n}"] for n in (2, 1, 0)]
    assert calls == ["post 2", "post 1", "post 0"]


@every_way
async def test_a_lock_lets_branches_in_in_the_same_order_after_a_replay(running, calls, way):
    """`r11_window.py`."""

    @flow
    async def locks(event, step):
        lock = asyncio.Lock()

        async def branch(n, seconds):
            await step.do(f"before {n}", calls.lasting, seconds)
            async with lock:
                await step.do(f"inside {n}", calls.job(f"inside {n}"))
                await step.sleep(f"rest {n}", "6 seconds")
                await step.do(f"leaves {n}", calls.job(f"leaves {n}"))

        await asyncio.gather(branch(0, 2), branch(1, 1))
        return "ok"

    calls.machine = machine = await running(locks)
    instance = await machine.create(locks)
    await machine.advance("4 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("20 seconds")
    assert await machine.output(instance) == "ok"
    assert calls == ["inside 1", "leaves 1", "inside 0", "leaves 0"]


@every_way
async def test_a_task_beside_the_main_one_goes_on(running, calls, way):
    """`r12_beside.py`."""

    @flow
    async def main(event, step):
        async def beside():
            await asyncio.sleep(1)
            return await step.do("beside", calls.job("beside", "beside"))

        task = asyncio.create_task(beside())
        await step.do("main", calls.lasting, 2)
        await step.sleep("rest", "6 seconds")
        return [await step.do("next", lambda: "next"), await task]

    calls.machine = machine = await running(main)
    instance = await machine.create(main)
    await machine.advance("4 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("6 seconds")
    assert await machine.output(instance) == ["next", "beside"]
    assert calls == ["beside"]


async def test_another_event_type_is_a_contradiction_and_never_hangs(running):
    """`r14_event_type.py`: the slip in the type is corrected while an instance waits for it."""
    types = ["aproval"]

    @flow
    async def deploy(event, step):
        return (await step.wait_for_event("approval", types[-1], timeout="24 hours")).payload

    machine = await running(deploy)
    instance = await machine.create(deploy)
    types.append("approval")
    await interrupt(machine, instance, "restarted", wake=True)
    await machine.settle()
    status = await instance.status()
    assert (status.status, status.error and status.error.name) == ("errored", "NonDeterminismError")
    assert "'aproval'" in status.error.message
    assert "'approval'" in status.error.message
    types.append("aproval")
    await instance.resume()
    await instance.send_event(type="aproval", payload="yes")
    assert await machine.output(instance) == "yes"


async def test_code_that_ends_without_asking_for_recorded_steps_is_a_contradiction(running, calls):
    """`r15_ends.py`."""
    whole = [True]

    @flow
    async def deploy(event, step):
        out = []
        if whole[-1]:
            out.append(await step.do("charge", calls.job("charge", "ch_1")))
            await step.sleep("rest", "5 seconds")
            out.append(await step.do("ship", calls.job("ship", "sent")))
        return out

    machine = await running(deploy)
    instance = await machine.create(deploy)
    whole.append(False)
    await interrupt(machine, instance, "restarted")
    await machine.advance("5 seconds")
    status = await instance.status()
    assert (status.status, status.error and status.error.name) == ("errored", "NonDeterminismError")
    assert "'charge'" in status.error.message
    whole.append(True)
    await instance.resume()
    assert await machine.output(instance) == ["ch_1", "sent"]
    assert calls == ["charge", "ship"]


@every_way
async def test_a_cancelled_loser_is_begun_once_in_all_lives(running, calls, way):
    """`r16_cancel_rerun.py`."""

    @flow
    async def race(event, step):
        slow = asyncio.create_task(step.do("slow", calls.job("slow", None, 5)))
        fast = asyncio.create_task(step.do("fast", calls.job("fast", None, 1)))
        done, pending = await asyncio.wait([slow, fast], return_when=asyncio.FIRST_COMPLETED)
        winner = await step.do("winner", lambda: "fast" if fast in done else "slow")
        for one in pending:
            one.cancel()
        for n in range(3):
            await step.sleep(f"day {n}", "5 seconds")
        return winner

    calls.machine = machine = await running(race)
    instance = await machine.create(race)
    for _ in range(3):
        await machine.advance("5 seconds")
        await interrupt(machine, instance, way)
    await machine.advance("5 seconds")
    assert await machine.output(instance) == "fast"
    assert calls == ["slow", "fast"]


@every_way
async def test_a_second_wait_gets_what_a_cancelled_one_did_not_take(running, way):
    """`r17_second_wait.py`."""

    @flow
    async def two(event, step):
        first = asyncio.create_task(step.wait_for_event("first", "go"))
        await step.sleep("a while", "6 seconds")
        first.cancel()
        await step.do("cancelled", lambda: "cancelled")
        return (await step.wait_for_event("second", "go", timeout="20 seconds")).payload

    machine = await running(two)
    instance = await machine.create(two)
    await machine.advance("3 seconds")
    await interrupt(machine, instance, way)
    await machine.advance("5 seconds")
    await interrupt(machine, instance, way)
    await instance.send_event(type="go", payload="went")
    assert await machine.output(instance) == "went"
