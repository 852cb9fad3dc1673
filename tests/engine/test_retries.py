"""Retries: when a failed, timed-out or cut-off attempt is made again, and when it is not."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from contextvars import ContextVar

import pytest

from everstep import NonRetryableError, StepConfig, StepError, WorkflowTimeoutError, current_step
from everstep.core.errors import AttemptInterruptedError
from everstep.engine.runtime.options import EngineOptions

from .virtual import START_MS, VirtualClock, attempts_of, flow

SECOND = 1_000


class Flaky:
    """A step function that fails for a while, and knows when it was called."""

    def __init__(self, failures: int = 1_000, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ConnectionError("no route")
        self.clock = None
        self.times: list[float] = []

    async def __call__(self):
        self.times.append((self.clock.now() - START_MS) / SECOND)
        if len(self.times) <= self.failures:
            raise self.error
        return len(self.times)

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(self.times)]


async def started(running, config, fn, **kwargs):
    """Boot a machine and create an instance of a workflow of one step, named "charge"."""

    @flow
    async def shop(event, step):
        return await step.do("charge", config, fn)

    machine = await running(shop, **kwargs)
    if isinstance(fn, Flaky):
        fn.clock = machine.clock
    return machine, await machine.create(shop)


@pytest.mark.parametrize(
    ("retries", "gaps"),
    [
        ({"limit": 4, "delay": "3 seconds", "backoff": "constant"}, [3, 3, 3, 3]),
        ({"limit": 4, "delay": "3 seconds", "backoff": "linear"}, [3, 6, 9, 12]),
        ({"limit": 4, "delay": "3 seconds", "backoff": "exponential"}, [3, 6, 12, 24]),
        ({"limit": 4, "delay": "3 seconds", "max_delay": "10 seconds"}, [3, 6, 10, 10]),
        ({"limit": 3, "delay": 0}, [0, 0, 0]),
        ({"limit": 2, "delay": "0.25 seconds", "backoff": "constant"}, [0.25, 0.25]),
    ],
    ids=str,
)
async def test_the_gaps_between_attempts_follow_the_policy_to_the_millisecond(running, retries, gaps):
    charge = Flaky()
    machine, instance = await started(running, {"retries": retries}, charge)
    await machine.advance("1 hour")
    assert charge.gaps == gaps
    with pytest.raises(ConnectionError, match="no route"):
        await machine.output(instance)


async def test_without_a_config_there_are_six_attempts_over_310_seconds(running):
    charge = Flaky()
    machine, instance = await started(running, None, charge)
    await machine.advance("310 seconds")
    assert charge.times == [0, 10, 30, 70, 150, 310]
    assert (await instance.status()).status == "errored"


async def test_a_retried_step_gives_the_result_of_the_attempt_that_ended_well(running):
    charge = Flaky(failures=2)
    machine, instance = await started(running, None, charge)
    await machine.advance("30 seconds")
    assert await machine.output(instance) == 3
    assert attempts_of(await instance.status(steps=True), "charge") == [
        (1, "errored", "ConnectionError"),
        (2, "errored", "ConnectionError"),
        (3, "complete", None),
    ]


async def test_a_failed_attempt_tells_when_the_next_is_due(running):
    machine, instance = await started(running, None, Flaky())
    status = await instance.status(steps=True)
    assert status.steps[0].status == "retrying"
    assert status.steps[0].attempts[0].retry_at == status.wake_at
    assert status.wake_at.timestamp() * SECOND == machine.now + 10 * SECOND


async def test_the_context_knows_the_attempt(running):
    seen = []

    async def look(ctx):
        seen.append(ctx.attempt)
        raise ConnectionError

    machine, _ = await started(running, {"retries": {"limit": 2, "delay": "1 second"}}, look)
    await machine.advance("1 minute")
    assert seen == [1, 2, 3]


async def test_a_limit_of_0_allows_one_attempt(running):
    charge = Flaky()
    machine, instance = await started(running, {"retries": {"limit": 0}}, charge)
    with pytest.raises(ConnectionError):
        await machine.output(instance)
    assert charge.times == [0]


async def test_a_non_retryable_error_ends_the_retries_at_once(running):
    charge = Flaky(error=NonRetryableError("card 4242 was declined"))
    machine, instance = await started(running, None, charge)
    with pytest.raises(NonRetryableError, match="4242"):
        await machine.output(instance)
    assert charge.times == [0]


async def test_an_error_of_a_class_named_non_retryable_ends_the_retries_at_once(running):
    charge = Flaky(error=FileNotFoundError("a.txt"))
    machine, instance = await started(running, {"retries": {"non_retryable": (OSError,)}}, charge)
    with pytest.raises(FileNotFoundError):
        await machine.output(instance)
    assert charge.times == [0]


async def test_errors_of_other_classes_are_retried(running):
    charge = Flaky(failures=1, error=KeyError("sku"))
    machine, instance = await started(running, {"retries": {"non_retryable": (OSError,)}}, charge)
    await machine.advance("10 seconds")
    assert await machine.output(instance) == 2


async def test_other_branches_go_on_during_a_retry(running):
    charge, done = Flaky(failures=1), []

    @flow
    async def shop(event, step):
        async def others():
            await step.do("a", lambda: done.append("a"))
            await step.sleep("a while", "4 seconds")
            await step.do("b", lambda: done.append("b"))

        await asyncio.gather(step.do("charge", charge), others())

    machine = await running(shop)
    charge.clock = machine.clock
    instance = await machine.create(shop)
    await machine.advance("4 seconds")
    assert done == ["a", "b"]
    assert (await instance.status()).waiting_for.kind == "retry"
    await machine.advance("6 seconds")
    await machine.output(instance)
    assert charge.times == [0, 10]


# Timeouts


@pytest.mark.parametrize(("timeout", "within"), [("2 seconds", [2_000]), ("30 seconds", range(30_000, 31_001))])
async def test_an_attempt_that_takes_too_long_is_cancelled(running, timeout, within):
    clock, ended = VirtualClock(), []

    async def hang():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(clock.now() - START_MS)
            raise

    machine, instance = await started(running, {"timeout": timeout, "retries": {"limit": 0}}, hang, clock=clock)
    await machine.advance("1 minute")
    assert len(ended) == 1
    assert ended[0] in within
    with pytest.raises(WorkflowTimeoutError, match=r"attempt 1 of step 'charge' timed out"):
        await machine.output(instance)


async def test_what_a_timed_out_attempt_sets_in_its_context_is_not_seen_by_the_next(running):
    clock, seen = VirtualClock(), []
    note = ContextVar("note", default="nothing")

    async def hang_once():
        seen.append((current_step().attempt, note.get()))
        note.set(f"attempt {current_step().attempt}")
        if len(seen) == 1:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            note.set("late")

    machine, instance = await started(running, {"timeout": "30 seconds"}, hang_once, clock=clock)
    await machine.advance("2 minutes")
    await machine.output(instance)
    assert seen == [(1, "nothing"), (2, "nothing")]


async def test_a_timeout_is_retried_like_any_failure(running):
    clock, times = VirtualClock(), []

    async def hang_once():
        times.append(clock.now() - START_MS)
        if len(times) == 1:
            await asyncio.Event().wait()
        return "ok"

    config = StepConfig(timeout="2 seconds")
    machine, instance = await started(running, config, hang_once, clock=clock)
    await machine.advance("1 minute")
    assert await machine.output(instance) == "ok"
    assert times == [0, 12_000]


async def test_a_threads_late_result_changes_nothing(running, held):
    calls = []

    def hang_once():
        calls.append(1)
        if len(calls) == 1:
            held.wait()
            return "late"
        return "in time"

    machine, instance = await started(running, {"timeout": "2 seconds"}, hang_once)
    await machine.advance("2 seconds")
    assert (await instance.status()).waiting_for.kind == "retry"
    held.release()
    await machine.settle()
    assert attempts_of(await instance.status(steps=True), "charge") == [(1, "errored", "WorkflowTimeoutError")]
    await machine.advance("10 seconds")
    assert await machine.output(instance) == "in time"


async def test_a_timeout_that_the_function_turns_into_an_error_leaves_the_workflow_uncancelled(running):
    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("closed")

    cancelling = []

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", {"timeout": "2 seconds", "retries": {"limit": 0}}, hang)
        except (ConnectionError, WorkflowTimeoutError) as error:
            cancelling.append(asyncio.current_task().cancelling())
            return type(error).__name__

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("2 seconds")
    assert await machine.output(instance) in {"ConnectionError", "WorkflowTimeoutError"}
    assert set(cancelling) == {0}


async def test_a_function_that_finishes_although_it_was_timed_out_leaves_the_workflow_uncancelled(running):
    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "finished anyway"

    async def cancelled():
        raise asyncio.CancelledError

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", {"timeout": "2 seconds", "retries": {"limit": 0}}, stubborn)
        except WorkflowTimeoutError:
            pass
        # A cancellation left behind would make the engine take this one for the workflow's own.
        try:
            await step.do("cancelled", {"retries": {"limit": 0}}, cancelled)
        except StepError as error:
            return error.name

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.advance("2 seconds")
    assert await machine.output(instance) == "CancelledError"


async def test_the_default_timeout_is_ten_minutes(running):
    async def hang():
        await asyncio.Event().wait()

    machine, instance = await started(running, {"retries": {"limit": 0}}, hang)
    await machine.advance("599 seconds")
    assert (await instance.status()).status == "running"
    await machine.advance("2 seconds")
    with pytest.raises(WorkflowTimeoutError, match="timed out after 10 min"):
        await machine.output(instance)


# Crashes


async def test_attempts_are_counted_across_crashes(running):
    charge = Flaky()
    machine, instance = await started(running, {"retries": {"limit": 3, "backoff": "constant"}}, charge)
    await machine.advance("3 seconds")
    await machine.reboot()
    await machine.advance("7 seconds")
    await machine.reboot()
    await machine.advance("1 hour")
    assert charge.times == [0, 10, 20, 30]
    assert (await instance.status()).status == "errored"


async def test_a_retry_that_fell_due_while_the_machine_was_off_is_made_at_once(running):
    charge = Flaky(failures=1)
    machine, instance = await started(running, None, charge)
    await machine.crash()
    await machine.advance("1 hour")
    await machine.boot()
    await machine.settle()
    assert await machine.output(instance) == 2
    assert charge.times == [0, 3_600]


class Deadly:
    """A step function in which the machine dies, the first so many times."""

    def __init__(self, deaths: int = 1_000) -> None:
        self.deaths = deaths
        self.calls = 0
        self.inside = False

    async def __call__(self):
        self.calls += 1
        if self.calls <= self.deaths:
            self.inside = True
            try:
                await asyncio.Event().wait()
            finally:
                self.inside = False
        return self.calls


TEN_SECONDS = {"retries": {"delay": "10 seconds", "backoff": "constant"}}


async def test_a_first_attempt_cut_off_by_a_crash_is_recorded_and_followed_by_the_next_at_once(running):
    charge = Deadly(deaths=1)
    machine, instance = await started(running, None, charge)
    await machine.advance("1 second")  # it lasts: its start is on disk
    await machine.reboot()
    assert await machine.output(instance) == 2
    assert attempts_of(await instance.status(steps=True), "charge") == [
        (1, "errored", "AttemptInterruptedError"),
        (2, "complete", None),
    ]


async def test_a_second_cut_waits_for_the_default_delay(running):
    charge = Deadly(deaths=2)
    machine, _ = await started(running, None, charge)
    for _ in range(2):
        await machine.advance("1 second")
        await machine.reboot()
    await machine.advance("19 seconds")
    assert charge.calls == 2
    await machine.advance("1 second")
    assert charge.calls == 3


async def test_an_attempt_cut_off_by_a_crash_is_recorded_counted_and_delayed(running):
    charge = Deadly(deaths=1)
    machine, instance = await started(running, TEN_SECONDS, charge)
    await machine.advance("1 second")  # it lasts: its start is on disk
    await machine.reboot()
    status = await instance.status(steps=True)
    assert attempts_of(status, "charge") == [(1, "errored", "AttemptInterruptedError")]
    assert (status.status, status.attempt, status.waiting_for.kind) == ("waiting", 1, "retry")
    await machine.advance("9.999 seconds")
    assert charge.calls == 1
    await machine.advance(1)
    assert await machine.output(instance) == 2
    assert attempts_of(await instance.status(steps=True), "charge") == [
        (1, "errored", "AttemptInterruptedError"),
        (2, "complete", None),
    ]


async def test_the_delay_after_a_cut_counts_from_the_moment_it_was_noticed(running):
    charge = Deadly(deaths=1)
    machine, _ = await started(running, TEN_SECONDS, charge)
    await machine.advance("1 second")
    await machine.crash()
    await machine.advance("1 hour")
    await machine.boot()
    await machine.advance("9 seconds")
    assert charge.calls == 1
    await machine.advance("1 second")
    assert charge.calls == 2


async def test_a_single_crash_too_quick_to_be_recorded_is_made_up_for_at_once(running):
    charge = Deadly(deaths=1)
    machine, instance = await started(running, None, charge)
    await machine.reboot()
    assert await machine.output(instance) == 2
    assert (await instance.status(steps=True)).steps[0].attempts[-1].attempt == 2


async def ride_out(machine, instance, deadly, *, lasting_ms=0):
    """Crash the machine whenever it is inside the deadly step, until the instance has ended."""
    for _ in range(60):
        if (await instance.status()).status == "errored":
            return
        if deadly.inside:
            await machine.advance(lasting_ms)
            await machine.reboot()
        else:
            await machine.advance("10 minutes", until=lambda: deadly.inside)
    raise AssertionError(f"the instance goes on for ever: {deadly.calls} calls")


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("lasting", [False, True], ids=["quick", "lasting"])
async def test_a_step_that_crashes_its_engine_ends_after_its_limit(running, limit, lasting):
    charge = Deadly()

    @flow
    async def shop(event, step):
        await step.do("before", lambda: 1)
        await step.do("charge", {"retries": {"limit": limit, "delay": "1 second"}}, charge)

    machine = await running(shop)
    instance = await machine.create(shop)
    await ride_out(machine, instance, charge, lasting_ms=10 if lasting else 0)
    assert charge.calls == limit + 1
    with pytest.raises(AttemptInterruptedError):
        await machine.output(instance)


@pytest.mark.parametrize("failures", [1, 2, 3])
async def test_quick_crashes_after_recorded_failures_count_towards_the_limit(running, failures):
    deadly, calls = Deadly(), []

    async def charge():
        calls.append(1)
        if len(calls) <= failures:
            raise ConnectionError
        await deadly()

    config = {"retries": {"limit": 5, "delay": "1 second", "backoff": "constant"}}
    machine, instance = await started(running, config, charge)
    await ride_out(machine, instance, deadly)
    assert len(calls) == 6


async def test_a_delay_after_quick_crashes_is_waited_out_once_by_an_instance_that_left_memory(running):
    deadly, calls = Deadly(deaths=2), []

    async def charge():
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError
        await deadly()

    config = {"retries": {"limit": 5, "delay": "10 seconds", "backoff": "constant"}}
    machine, instance = await started(running, config, charge, options=EngineOptions(max_cached=0, drain_ms=0))
    for _ in range(2):
        await machine.advance("1 minute", until=lambda: deadly.inside)
        await machine.reboot()
    await machine.advance("1 minute")
    assert (await instance.status()).status == "complete"


async def test_of_two_parallel_steps_the_one_that_crashes_the_engine_ends(running):
    deadly = Deadly()
    calls = []

    async def innocent():
        calls.append(1)
        await asyncio.Event().wait()

    @flow
    async def shop(event, step):
        config = {"retries": {"limit": 4, "delay": "1 second", "backoff": "constant"}}
        await asyncio.gather(step.do("innocent", config, innocent), step.do("deadly", config, deadly))

    machine = await running(shop)
    instance = await machine.create(shop)
    await ride_out(machine, instance, deadly)
    assert deadly.calls <= 5


async def test_a_step_with_limit_0_never_runs_twice(running):
    charge = Deadly()
    machine, instance = await started(running, {"retries": {"limit": 0}}, charge)
    await machine.reboot()
    assert charge.calls == 1
    with pytest.raises(AttemptInterruptedError, match="attempt 1 was interrupted"):
        await machine.output(instance)


async def test_an_attempt_cut_off_can_be_caught_like_any_error(running):
    charge = Deadly()

    @flow
    async def shop(event, step):
        try:
            await step.do("charge", {"retries": {"limit": 0}}, charge)
        except Exception as error:
            return type(error).__name__

    machine = await running(shop)
    instance = await machine.create(shop)
    await machine.reboot()
    assert await machine.output(instance) == "AttemptInterruptedError"


async def test_a_crash_between_steps_costs_no_attempt_of_a_step_that_was_not_reached(running):
    calls = []

    @flow
    async def shop(event, step):
        await step.sleep("first", "1 second")
        await step.do("charge", lambda: calls.append(1))

    machine = await running(shop)
    instance = await machine.create(shop)
    for _ in range(5):
        await machine.reboot()
    await machine.advance("1 second")
    await machine.output(instance)
    assert attempts_of(await instance.status(steps=True), "charge") == [(1, "complete", None)]
