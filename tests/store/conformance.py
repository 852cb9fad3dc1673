"""The specification of a store: what every implementation answers. Subclass it beside a `store` fixture."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs

from everstep.core.errors import InstanceExistsError, InstanceLostError, InstanceNotFoundError, InstanceStateError
from everstep.core.journal import StepRecord
from everstep.store.protocol import Change, Deletion, EventRecord, InstanceChange, StepKey, Store, Transition

from .factories import (
    BOOM,
    CONTRADICTION,
    WORKFLOW,
    bring_to,
    child,
    claimed_ids,
    compensation,
    do,
    ended,
    failed_attempt,
    instance,
    instance_in,
    new_instance,
    owned_instance,
    said,
    sleep,
    wait,
    waiting,
)

LIVE = ["queued", "running", "released", "waiting", "waitingForPause", "paused"]
ENDED = ["complete", "errored", "terminated"]


class Creating:
    async def test_a_new_instance_is_queued_and_due_at_once(self, store: Store):
        pk = await store.create(new_instance(at=10, params='{"a":1}', trigger="cron", version="v1"))
        found = await instance(store)
        assert (found.pk, found.workflow, found.id, found.status, found.due_at) == (pk, WORKFLOW, "one", "queued", 10)
        assert (found.created_at, found.started_at, found.ended_at, found.paused_at) == (10, None, None, None)
        assert (found.params, found.trigger, found.version) == ('{"a":1}', "cron", "v1")
        assert (found.output, found.error, found.recoveries) == (None, None, 0)

    async def test_an_owned_instance_runs_at_once_and_is_nobody_elses(self, store: Store):
        await store.create(new_instance(at=10, owned=True))
        found = await instance(store)
        assert (found.status, found.due_at, found.started_at) == ("running", None, 10)
        assert await claimed_ids(store, now=1_000) == []

    async def test_of_fifty_racing_creators_one_succeeds(self, store: Store):
        racers = [store.create(new_instance(at=i, params=str(i))) for i in range(50)]
        answers = await asyncio.gather(*racers, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, InstanceExistsError)]
        created = [answer for answer in answers if isinstance(answer, int)]
        assert (len(created), len(refused)) == (1, 49)
        assert (await instance(store)).params == str(answers.index(created[0]))

    async def test_creating_an_id_that_exists_changes_nothing(self, store: Store):
        await instance_in(store, "complete")
        before = await instance(store)
        with pytest.raises(InstanceExistsError) as refusal:
            await store.create(new_instance(at=500, params="2"))
        assert refusal.value.code == "instance.already_exists"
        assert await instance(store) == before

    async def test_parent_tags_and_retention_are_kept(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance(parent=parent, tags=["a", "ü"], success_retention_ms=5, error_retention_ms=7))
        found = await instance(store)
        assert (found.parent, found.tags, found.success_retention_ms, found.error_retention_ms) == (
            parent,
            '["a","ü"]',
            5,
            7,
        )
        plain = await instance(store, "parent")
        assert (plain.parent, plain.tags, plain.success_retention_ms, plain.error_retention_ms) == (
            None,
            None,
            None,
            None,
        )
        assert (found.rollback, plain.rollback) == (None, None)

    async def test_the_same_id_may_exist_once_in_every_workflow(self, store: Store):
        first = await store.create(new_instance(workflow="a"))
        second = await store.create(new_instance(workflow="b"))
        assert first != second

    async def test_later_instances_have_higher_keys(self, store: Store):
        pks = await asyncio.gather(*(store.create(new_instance(f"i{n}")) for n in range(30)))
        assert pks == sorted(set(pks))


class Writing:
    async def test_a_step_comes_back_as_it_was_written(self, store: Store):
        pk = await owned_instance(store)
        step = do(
            attempt=3,
            attempt_at=15,
            ended_at=20,
            wake_at=18,
            is_absolute=True,
            event_type="t",
            child="orders/two",
            compensable=True,
            sensitive=True,
            config="{}",
            result='{"x":"ü"}',
            error="null",
        )
        await store.write(Change(pk, [step]))
        assert await store.steps(pk) == [step]

    async def test_steps_come_back_in_the_order_they_started(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(3), do(1)]))
        await store.write(Change(pk, [do(2)]))
        assert [step.seq for step in await store.steps(pk)] == [1, 2, 3]

    async def test_an_outline_is_the_steps_without_their_values(self, store: Store):
        pk = await owned_instance(store)
        long = do(1, result='"long"', config="{}", child="a/b", asked_after=3, settlement=4, sent_after=4)
        await store.write(Change(pk, [do(2, result=None, error="null"), long]))
        assert await store.outline(pk) == [do(1, result=None, config="{}", child="a/b"), do(2, result=None)]

    async def test_steps_may_be_read_with_the_beginnings_of_their_results(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1, result='"long"'), do(2, result='"é"'), do(3, result=None)]))
        assert [step.result for step in await store.steps(pk, chars=3)] == ['"lon', '"é"', None]
        assert [step.result for step in await store.steps(pk, chars=0)] == ['"', '"', None]

    async def test_steps_and_attempts_may_be_read_from_one_number_to_another(self, store: Store):
        pk, other = await owned_instance(store), await owned_instance(store, "other")
        await store.write(Change(other, [do(2)], [failed_attempt(2)]))
        failed = [failed_attempt(1), failed_attempt(2), failed_attempt(2, attempt=2), failed_attempt(4)]
        await store.write(Change(pk, [do(1), do(2), do(3), do(4)], failed))
        assert await store.steps(pk, first=2, last=3) == [do(2), do(3)]
        assert await store.steps(pk, first=3) == [do(3), do(4)]
        assert await store.steps(pk, last=1, chars=100) == [do(1)]
        assert await store.steps(pk, first=5) == []
        assert await store.attempts(pk, first=2, last=3) == failed[1:3]
        assert await store.attempts(pk, first=3) == failed[3:]

    async def test_a_later_state_of_a_step_replaces_the_earlier_one(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(state="running", attempt_at=10)]))
        later = do(state="complete", attempt=2, attempt_at=30, ended_at=40, result="7")
        await store.write(Change(pk, [later]))
        assert await store.steps(pk) == [later]

    async def test_a_later_state_in_the_same_group_replaces_the_earlier_one(self, store: Store):
        pk = await owned_instance(store)
        states = [do(state="running"), do(state="retrying", wake_at=30), do(state="complete", attempt=2, result="7")]
        await asyncio.gather(*(store.write(Change(pk, [state])) for state in states))
        assert await store.steps(pk) == [states[-1]]

    async def test_records_are_read_before_write_returns(self, store: Store):
        pk = await owned_instance(store)
        step = do(state="running")
        written = store.write(Change(pk, [step]))
        step.state = "complete"
        await written
        assert [one.state for one in await store.steps(pk)] == ["running"]

    async def test_steps_belong_to_their_own_instance(self, store: Store):
        first, second = await owned_instance(store, "first"), await owned_instance(store, "second")
        await asyncio.gather(
            store.write(Change(first, [do(1, result="1")])), store.write(Change(second, [do(1, result="2")]))
        )
        assert [step.result for step in await store.steps(first)] == ["1"]
        assert [step.result for step in await store.steps(second)] == ["2"]

    @pytest.mark.parametrize("kind", ["do", "sleep", "wait", "child", "rollback", "value"])
    async def test_every_kind_of_step_comes_back(self, store: Store, kind):
        pk = await owned_instance(store)
        step = do()
        step.kind = kind
        await store.write(Change(pk, [step]))
        assert await store.steps(pk) == [step]

    @pytest.mark.parametrize("steps", [0, 1, 3])
    async def test_attempts_are_kept_however_many_steps_come_with_them(self, store: Store, steps: int):
        pk = await owned_instance(store)
        attempts = [failed_attempt(1, 1), failed_attempt(1, 2)]
        await store.write(Change(pk, [do(seq) for seq in range(1, steps + 1)], attempts))
        assert await store.attempts(pk) == attempts
        assert (await said(store, pk)).count("attempt 1") == 2

    async def test_failed_attempts_come_back_in_order(self, store: Store):
        pk = await owned_instance(store)
        attempts = [failed_attempt(1, 1, retry_at=30), failed_attempt(1, 2), failed_attempt(2, 1)]
        await store.write(Change(pk, attempts=[attempts[2], attempts[0]]))
        await store.write(Change(pk, attempts=[attempts[1]]))
        assert await store.attempts(pk) == attempts

    async def test_an_attempt_written_again_replaces_itself(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, attempts=[failed_attempt(retry_at=30)]))
        await store.write(Change(pk, attempts=[failed_attempt(retry_at=99)]))
        assert await store.attempts(pk) == [failed_attempt(retry_at=99)]

    async def test_an_event_that_is_given_back_is_where_it_was(self, store: Store):
        pk = await owned_instance(store)
        first, second = [
            await store.send_event(WORKFLOW, "one", type="approval", payload=payload, now=20)
            for payload in ('"a"', '"b"')
        ]
        await store.write(Change(pk, [wait(state="complete")], consumed=[first.event.id]))
        await store.write(Change(pk, [wait(state="cancelled")], restored=[first.event], instance=waiting(50)))
        [claimed] = (await store.claim([WORKFLOW], now=50, limit=1)).claimed
        assert claimed.events == [first.event, second.event]

    async def test_an_event_may_be_consumed_given_back_and_consumed_at_once(self, store: Store):
        pk = await owned_instance(store)
        sent = await store.send_event(WORKFLOW, "one", type="approval", payload=None, now=20)
        changes = [
            Change(pk, [wait(1, state="complete")], consumed=[sent.event.id]),
            Change(pk, [wait(1, state="cancelled")], restored=[sent.event]),
            Change(pk, [wait(2, state="complete")], consumed=[sent.event.id]),
            Change(pk, instance=waiting(50)),
        ]
        await asyncio.gather(*(store.write(change) for change in changes))
        [claimed] = (await store.claim([WORKFLOW], now=50, limit=1)).claimed
        assert (claimed.events, [step.state for step in claimed.steps]) == ([], ["cancelled", "complete"])

    async def test_the_order_of_what_the_code_heard_is_kept(self, store: Store):
        pk = await owned_instance(store)
        asked = do(1, asked_after=0, settlement=2, sent_after=1)
        inner = do(2, parent=1)
        cancelled = do(3, "cancelled", asked_after=0, cancelled_after=1)
        await store.write(Change(pk, [do(1, "running", asked_after=0), inner, do(3, "running", asked_after=0)]))
        await store.write(Change(pk, [asked, cancelled]))
        assert await store.steps(pk) == [asked, inner, cancelled]

    async def test_a_consumed_event_is_gone_with_the_step_that_took_it(self, store: Store):
        pk = await owned_instance(store)
        first = await store.send_event(WORKFLOW, "one", type="approval", payload="1", now=20)
        second = await store.send_event(WORKFLOW, "one", type="approval", payload="2", now=21)
        await store.write(Change(pk, [wait(state="complete")], consumed=[first.event.id]))
        await store.release(now=30)
        [claimed] = (await store.claim([WORKFLOW], now=30, limit=1)).claimed
        assert [step.state for step in claimed.steps] == ["complete"]
        assert claimed.events == [second.event]

    async def test_parking_makes_an_instance_due_later(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=waiting(500)))
        found = await instance(store)
        assert (found.status, found.due_at) == ("waiting", 500)

    async def test_a_parked_instance_may_go_on_by_itself(self, store: Store):
        pk = await instance_in(store, "waiting")
        await store.write(Change(pk, instance=InstanceChange("running")))
        found = await instance(store)
        assert (found.status, found.due_at) == ("running", None)

    async def test_the_end_is_kept_with_its_output(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=ended("complete", at=70, output='"done"')))
        found = await instance(store)
        assert (found.status, found.due_at, found.ended_at, found.output) == ("complete", None, 70, '"done"')

    async def test_the_end_is_kept_with_its_error(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=ended("errored", at=70, error=BOOM)))
        found = await instance(store)
        assert (found.status, found.ended_at, found.output, found.error) == ("errored", 70, None, BOOM)

    @pytest.mark.parametrize("status", ENDED)
    @pytest.mark.parametrize("later", ["running", "waiting", "paused", *ENDED])
    async def test_what_has_ended_stays_as_it_ended(self, store: Store, status: str, later):
        pk = await instance_in(store, status)
        before = await instance(store)
        end = 900 if later in ENDED else None
        await store.write(Change(pk, instance=InstanceChange(later, 800, '"late"', '"late"', end)))
        assert await instance(store) == before

    @pytest.mark.parametrize("later", ["running", "waiting", "paused", "errored"])
    async def test_what_ended_earlier_in_the_same_group_stays_as_it_ended(self, store: Store, later):
        pk = await owned_instance(store)
        end = 900 if later in ENDED else None
        await asyncio.gather(
            store.write(Change(pk, instance=ended("complete", at=70, output="1"))),
            store.write(Change(pk, instance=InstanceChange(later, 800, '"late"', '"late"', end))),
        )
        found = await instance(store)
        assert (found.status, found.due_at, found.output, found.error, found.ended_at) == (
            "complete",
            None,
            "1",
            None,
            70,
        )

    async def test_an_instance_that_ends_while_paused_is_ended(self, store: Store):
        pk = await instance_in(store, "paused")
        await store.write(Change(pk, instance=ended("complete", output="1")))
        assert (await instance(store)).status == "complete"

    async def test_the_end_may_be_a_termination_that_tells_how_the_rollback_ended(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=ended("terminated", at=70, error=BOOM, rollback='{"outcome":"failed"}')))
        found = await instance(store)
        assert (found.status, found.ended_at, found.error) == ("terminated", 70, BOOM)
        assert found.rollback == '{"outcome":"failed"}'

    async def test_changes_of_a_thousand_instances_share_groups_and_keep_apart(self, store: Store):
        pks = await asyncio.gather(*(store.create(new_instance(f"i{n}", owned=True)) for n in range(1_000)))
        await asyncio.gather(
            *(store.write(Change(pk, [do(1, result=str(pk))], [failed_attempt()], instance=waiting(pk))) for pk in pks)
        )
        claim = await store.claim([WORKFLOW], now=1_000_000, limit=1_000)
        assert [one.instance.pk for one in claim.claimed] == sorted(pks)
        assert [one.steps[0].result for one in claim.claimed] == [str(one.instance.pk) for one in claim.claimed]


class Claiming:
    async def test_claiming_owns_an_instance_and_notes_when_it_started(self, store: Store):
        await store.create(new_instance(at=10))
        [claimed] = (await store.claim([WORKFLOW], now=25, limit=10)).claimed
        assert (claimed.instance.status, claimed.instance.due_at, claimed.instance.started_at) == ("running", None, 25)
        assert claimed.instance == await instance(store)

    async def test_a_second_claim_leaves_the_start_where_it_was(self, store: Store):
        pk = await owned_instance(store, at=10)
        await store.write(Change(pk, instance=waiting(50)))
        [claimed] = (await store.claim([WORKFLOW], now=60, limit=10)).claimed
        assert claimed.instance.started_at == 10

    async def test_the_longest_due_come_first_whatever_order_they_were_created_in(self, store: Store):
        for due in (50, 30, 40, 10, 20):
            await store.create(new_instance(f"due-{due}", at=due))
        assert await claimed_ids(store, now=100, limit=3) == ["due-10", "due-20", "due-30"]
        assert await claimed_ids(store, now=100, limit=3) == ["due-40", "due-50"]

    async def test_an_instance_is_due_from_its_very_moment_on(self, store: Store):
        await store.create(new_instance(at=100))
        assert await claimed_ids(store, now=99) == []
        assert await claimed_ids(store, now=100) == ["one"]

    async def test_only_the_workflows_asked_for_are_claimed(self, store: Store):
        await store.create(new_instance("a", workflow="a"))
        await store.create(new_instance("b", workflow="b", at=5))
        claim = await store.claim(["b", "c"], now=10, limit=10)
        assert [one.instance.id for one in claim.claimed] == ["b"]
        assert claim.next_due is None

    async def test_a_claim_of_no_workflows_finds_nothing(self, store: Store):
        await store.create(new_instance())
        claim = await store.claim([], now=10, limit=10)
        assert (claim.claimed, claim.next_due) == ([], None)

    async def test_next_due_is_when_the_next_claim_will_find_something(self, store: Store):
        for due in (300, 200, 100):
            await store.create(new_instance(f"due-{due}", at=due))
        await store.create(new_instance(workflow="other", at=1))
        assert (await store.claim([WORKFLOW], now=50, limit=10)).next_due == 100
        assert (await store.claim([WORKFLOW], now=150, limit=10)).next_due == 200

    async def test_next_due_is_past_when_the_limit_left_something_behind(self, store: Store):
        for due in (10, 20):
            await store.create(new_instance(f"due-{due}", at=due))
        assert (await store.claim([WORKFLOW], now=50, limit=1)).next_due == 20

    async def test_those_that_ran_before_go_first_if_asked_for(self, store: Store):
        for name, due in (("late", 50), ("early", 40)):
            pk = await owned_instance(store, name)
            await store.write(Change(pk, instance=waiting(due)))
        for due in (20, 10):
            await store.create(new_instance(f"new-{due}", at=due))
        claim = await store.claim([WORKFLOW], now=100, limit=3, woken_first=True)
        assert [one.instance.id for one in claim.claimed] == ["early", "late", "new-10"]
        assert claim.next_due == 20
        assert await claimed_ids(store, now=100) == ["new-20"]

    async def test_those_that_ran_before_are_not_claimed_before_they_are_due(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=waiting(500)))
        await store.create(new_instance("new", at=10))
        claim = await store.claim([WORKFLOW], now=100, limit=3, woken_first=True)
        assert [one.instance.id for one in claim.claimed] == ["new"]
        assert claim.next_due == 500

    async def test_no_instance_is_claimed_twice_by_concurrent_claims(self, store: Store):
        await asyncio.gather(*(store.create(new_instance(f"i{n}")) for n in range(100)))
        claims = await asyncio.gather(*(store.claim([WORKFLOW], now=10, limit=7) for _ in range(20)))
        ids = [one.instance.id for claim in claims for one in claim.claimed]
        assert sorted(ids) == sorted({f"i{n}" for n in range(100)})

    async def test_the_journal_and_the_events_come_with_it_in_order(self, store: Store):
        pk = await owned_instance(store)
        other = await owned_instance(store, "other")
        await store.write(Change(other, [do(9)]))
        await store.write(Change(pk, [do(2), do(1), wait(3)]))
        sent = [await store.send_event(WORKFLOW, "one", type=t, payload=None, now=20) for t in ("b", "a", "b")]
        await store.write(Change(pk, instance=waiting(30)))
        [claimed] = (await store.claim([WORKFLOW], now=30, limit=10)).claimed
        assert claimed.steps == [do(1), do(2), wait(3)]
        assert claimed.events == [one.event for one in sent]

    @pytest.mark.parametrize("status", ["running", "waitingForPause", "paused", *ENDED])
    async def test_what_is_owned_paused_or_ended_is_never_claimed(self, store: Store, status: str):
        await instance_in(store, status)
        assert await claimed_ids(store, now=10_000_000) == []

    async def test_a_change_queued_before_a_claim_is_seen_by_it(self, store: Store):
        pk = await owned_instance(store)
        written = store.write(Change(pk, [do(1)], instance=waiting(20)))
        [claimed] = (await store.claim([WORKFLOW], now=20, limit=1)).claimed
        await written
        assert claimed.steps == [do(1)]


class Recovering:
    async def test_what_a_dead_owner_left_running_is_due_and_counted(self, store: Store):
        await owned_instance(store)
        assert await store.recover(now=200) == 1
        found = await instance(store)
        assert (found.status, found.due_at, found.recoveries) == ("running", 200, 1)

    async def test_recoveries_rise_while_the_journal_does_not_grow(self, store: Store):
        await owned_instance(store)
        assert [await _crash(store, now) for now in (100, 200, 300)] == [1, 2, 3]

    @pytest.mark.parametrize(
        "growth", [do(1, state="running", attempt=2), do(1, state="complete", ended_at=90), do(2, state="running")]
    )
    async def test_recoveries_count_from_one_again_once_the_journal_has_grown(self, store: Store, growth):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1, state="running")]))
        assert [await _crash(store, now) for now in (100, 200)] == [1, 2]
        await store.write(Change(pk, [growth]))
        assert [await _crash(store, now) for now in (300, 400)] == [1, 2]

    async def test_recovering_again_before_anything_was_claimed_counts_nothing(self, store: Store):
        await owned_instance(store)
        await store.recover(now=100)
        assert await store.recover(now=200) == 0
        assert (await instance(store)).recoveries == 1

    async def test_what_was_released_is_due_and_not_counted(self, store: Store):
        await owned_instance(store)
        await store.release(now=100)
        assert await store.recover(now=200) == 0
        found = await instance(store)
        assert (found.status, found.due_at, found.recoveries) == ("running", 100, 0)
        assert await claimed_ids(store, now=100) == ["one"]

    async def test_a_promised_pause_is_kept(self, store: Store):
        await instance_in(store, "waitingForPause")
        assert await store.recover(now=200) == 0
        found = await instance(store)
        assert (found.status, found.due_at, found.paused_at, found.recoveries) == ("paused", None, 100, 0)

    async def test_a_promised_pause_outlives_a_clean_stop(self, store: Store):
        await instance_in(store, "waitingForPause")
        await store.release(now=150)
        await store.recover(now=200)
        assert (await instance(store)).status == "paused"

    @pytest.mark.parametrize("status", ["queued", "waiting", "paused", *ENDED])
    async def test_what_nobody_was_working_on_is_left_alone(self, store: Store, status: str):
        await instance_in(store, status)
        before = await instance(store)
        assert await store.recover(now=200) == 0
        await store.release(now=300)
        assert await instance(store) == before

    async def test_an_event_its_owner_had_not_delivered_wakes_the_instance(self, store: Store):
        pk = await owned_instance(store)
        sent = store.send_event(WORKFLOW, "one", type="approval", payload=None, now=20)
        parked = store.write(Change(pk, [wait()], instance=waiting(1_000_000)))
        sent, _ = await asyncio.gather(sent, parked)
        await store.recover(now=200)
        [claimed] = (await store.claim([WORKFLOW], now=200, limit=1)).claimed
        assert claimed.events == [sent.event]
        assert claimed.instance.recoveries == 0

    async def test_an_event_nobody_waits_for_wakes_nothing(self, store: Store):
        pk = await owned_instance(store)
        await store.send_event(WORKFLOW, "one", type="other", payload=None, now=20)
        await store.write(Change(pk, [wait()], instance=waiting(1_000_000)))
        await store.recover(now=200)
        assert (await instance(store)).due_at == 1_000_000


class SendingEvents:
    async def test_an_event_comes_back_with_its_id_and_moment(self, store: Store):
        pk = await owned_instance(store)
        sent = await store.send_event(WORKFLOW, "one", type="order.approval", payload='{"ok":true}', now=20)
        assert (sent.pk, sent.woken) == (pk, False)
        assert sent.event == EventRecord(sent.event.id, "order.approval", '{"ok":true}', 20)

    async def test_ids_rise_in_the_order_of_the_calls(self, store: Store):
        await owned_instance(store)
        sending = (store.send_event(WORKFLOW, "one", type="t", payload=str(n), now=20) for n in range(50))
        sent = await asyncio.gather(*sending)
        ids = [one.event.id for one in sent]
        assert ids == sorted(set(ids))
        assert [one.event.payload for one in sent] == [str(n) for n in range(50)]

    async def test_an_id_is_never_used_again(self, store: Store):
        pk = await owned_instance(store)
        first = await store.send_event(WORKFLOW, "one", type="t", payload=None, now=20)
        await store.write(Change(pk, consumed=[first.event.id]))
        second = await store.send_event(WORKFLOW, "one", type="t", payload=None, now=20)
        assert second.event.id > first.event.id

    async def test_an_open_wait_of_that_type_is_woken(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [wait(type="approval")], instance=waiting(1_000)))
        sent = await store.send_event(WORKFLOW, "one", type="approval", payload=None, now=20)
        assert sent.woken
        assert (await instance(store)).due_at == 20

    async def test_an_open_wait_without_a_timeout_is_woken(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [wait(type="approval", until=None)], instance=waiting(None)))
        sent = await store.send_event(WORKFLOW, "one", type="approval", payload=None, now=20)
        assert sent.woken
        assert (await instance(store)).due_at == 20

    async def test_an_instance_that_is_due_already_is_not_put_off(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [wait(type="approval")], instance=waiting(15)))
        await store.send_event(WORKFLOW, "one", type="approval", payload=None, now=20)
        assert (await instance(store)).due_at == 15

    @pytest.mark.parametrize(
        "step",
        [wait(type="other"), wait(type="approval", state="complete"), sleep(until=1_000)],
        ids=["another type", "a wait that is over", "a sleep"],
    )
    async def test_what_waits_for_something_else_is_not_woken(self, store: Store, step):
        pk = await owned_instance(store)
        await store.write(Change(pk, [step], instance=waiting(1_000)))
        sent = await store.send_event(WORKFLOW, "one", type="approval", payload=None, now=20)
        assert not sent.woken
        assert (await instance(store)).due_at == 1_000

    @pytest.mark.parametrize("status", ["queued", "running", "released", "waitingForPause", "paused"])
    async def test_a_live_instance_that_does_not_wait_keeps_the_event_and_stays_as_it_is(
        self, store: Store, status: str
    ):
        pk = await instance_in(store, status)
        await store.write(Change(pk, [wait(type="approval")]))
        before = await instance(store)
        sent = await store.send_event(WORKFLOW, "one", type="approval", payload=None, now=200)
        assert not sent.woken
        assert await instance(store) == before

    async def test_an_event_for_a_paused_instance_is_there_when_it_goes_on(self, store: Store):
        await instance_in(store, "paused")
        sent = await store.send_event(WORKFLOW, "one", type="approval", payload=None, now=200)
        await store.resume(WORKFLOW, "one", now=300)
        [claimed] = (await store.claim([WORKFLOW], now=300, limit=1)).claimed
        assert claimed.events == [sent.event]

    @pytest.mark.parametrize("status", ENDED)
    async def test_an_ended_instance_refuses_it(self, store: Store, status: str):
        await instance_in(store, status)
        with pytest.raises(InstanceStateError, match=status) as refusal:
            await store.send_event(WORKFLOW, "one", type="t", payload=None, now=200)
        assert refusal.value.code == "instance.cannot_receive"

    async def test_an_unknown_instance_refuses_it(self, store: Store):
        with pytest.raises(InstanceNotFoundError) as refusal:
            await store.send_event(WORKFLOW, "nobody", type="t", payload=None, now=200)
        assert refusal.value.code == "instance.not_found"

    async def test_one_refusal_leaves_the_others_of_its_group_alone(self, store: Store):
        await owned_instance(store)
        receivers = ["one", "nobody", "one"]
        sending = (store.send_event(WORKFLOW, name, type="t", payload=None, now=20) for name in receivers)
        first, refused, third = await asyncio.gather(*sending, return_exceptions=True)
        assert isinstance(refused, InstanceNotFoundError)
        assert third.event.id == first.event.id + 1


class Pausing:
    @pytest.mark.parametrize("status", ["queued", "released", "waiting"])
    async def test_what_nobody_works_on_is_paused_at_once(self, store: Store, status: str):
        pk = await instance_in(store, status)
        before = (await instance(store)).status
        assert await store.pause(WORKFLOW, "one", now=200) == Transition(pk, before, "paused")
        found = await instance(store)
        assert (found.status, found.due_at, found.paused_at) == ("paused", None, 200)

    async def test_a_pause_is_promised_while_the_owner_is_at_work(self, store: Store):
        pk = await instance_in(store, "running")
        assert await store.pause(WORKFLOW, "one", now=200) == Transition(pk, "running", "waitingForPause")
        found = await instance(store)
        assert (found.due_at, found.paused_at) == (None, 200)

    @pytest.mark.parametrize("status", ["waitingForPause", "paused"])
    async def test_pausing_again_changes_nothing(self, store: Store, status: str):
        pk = await instance_in(store, status)
        before = await instance(store)
        assert await store.pause(WORKFLOW, "one", now=200) == Transition(pk, before.status, before.status)
        assert await instance(store) == before

    @pytest.mark.parametrize("status", ENDED)
    async def test_an_ended_instance_cannot_be_paused(self, store: Store, status: str):
        await instance_in(store, status)
        with pytest.raises(InstanceStateError, match=status) as refusal:
            await store.pause(WORKFLOW, "one", now=200)
        assert refusal.value.code == "instance.cannot_pause"

    async def test_a_promised_pause_wins_over_parking(self, store: Store):
        pk = await instance_in(store, "waitingForPause")
        await store.write(Change(pk, instance=waiting(500)))
        found = await instance(store)
        assert (found.status, found.due_at, found.paused_at) == ("paused", None, 100)

    async def test_a_promised_pause_wins_over_going_on(self, store: Store):
        pk = await instance_in(store, "waitingForPause")
        await store.write(Change(pk, instance=InstanceChange("running")))
        found = await instance(store)
        assert (found.status, found.due_at) == ("waitingForPause", None)

    async def test_the_owner_keeps_the_promise(self, store: Store):
        pk = await instance_in(store, "waitingForPause")
        await store.write(Change(pk, [do(1)], instance=InstanceChange("paused")))
        found = await instance(store)
        assert (found.status, found.due_at) == ("paused", None)

    async def test_a_promise_taken_back_is_not_kept(self, store: Store):
        pk = await instance_in(store, "waitingForPause")
        await store.resume(WORKFLOW, "one", now=200)
        await store.write(Change(pk, instance=InstanceChange("paused")))
        found = await instance(store)
        assert (found.status, found.due_at) == ("running", None)

    async def test_an_owner_who_was_promised_nothing_cannot_pause_what_it_parked(self, store: Store):
        pk = await instance_in(store, "waiting")
        await store.write(Change(pk, instance=InstanceChange("paused")))
        found = await instance(store)
        assert (found.status, found.due_at) == ("waiting", 1_000_000)

    @pytest.mark.parametrize("status", ["complete", "errored"])
    async def test_an_end_wins_over_a_promised_pause(self, store: Store, status: str):
        pk = await instance_in(store, "waitingForPause")
        await store.write(Change(pk, instance=ended(status)))
        assert (await instance(store)).status == status

    @pytest.mark.parametrize("later", ["running", "waiting"])
    async def test_what_was_paused_meanwhile_stays_paused(self, store: Store, later):
        pk = await instance_in(store, "paused")
        await store.write(Change(pk, instance=InstanceChange(later, due_at=500)))
        found = await instance(store)
        assert (found.status, found.due_at) == ("paused", None)

    async def test_what_is_owned_is_what_runs_and_what_is_about_to_pause(self, store: Store):
        runs = await owned_instance(store)
        await store.create(new_instance("queued"))
        parks, pauses = await owned_instance(store, "parks"), await owned_instance(store, "pauses")
        await store.write(Change(parks, instance=waiting(500)))
        await store.pause(WORKFLOW, "pauses", now=10)
        assert await store.list_owned() == {runs: "running", pauses: "waitingForPause"}

    async def test_verbs_take_effect_in_the_order_of_the_calls(self, store: Store):
        pk = await owned_instance(store)

        async def park():
            await store.write(Change(pk, instance=waiting(500)))

        answers = await asyncio.gather(
            store.pause(WORKFLOW, "one", now=10),
            park(),
            store.resume(WORKFLOW, "one", now=20),
            store.pause(WORKFLOW, "one", now=30),
            park(),
        )
        assert answers[0] == Transition(pk, "running", "waitingForPause")
        assert answers[2] == Transition(pk, "paused", "queued")
        assert answers[3] == Transition(pk, "queued", "paused")


class Resuming:
    async def test_a_paused_instance_is_queued_and_due(self, store: Store):
        pk = await instance_in(store, "paused")
        assert await store.resume(WORKFLOW, "one", now=300) == Transition(pk, "paused", "queued")
        found = await instance(store)
        assert (found.status, found.due_at, found.paused_at) == ("queued", 300, None)

    async def test_a_promised_pause_is_taken_back(self, store: Store):
        pk = await instance_in(store, "waitingForPause")
        assert await store.resume(WORKFLOW, "one", now=300) == Transition(pk, "waitingForPause", "running")
        found = await instance(store)
        assert (found.status, found.due_at, found.paused_at) == ("running", None, None)

    @pytest.mark.parametrize("status", ["queued", "running", "released", "waiting"])
    async def test_resuming_what_is_not_paused_changes_nothing(self, store: Store, status: str):
        pk = await instance_in(store, status)
        await store.write(Change(pk, [sleep(until=1_000)]))
        before = await instance(store)
        assert await store.resume(WORKFLOW, "one", now=300) == Transition(pk, before.status, before.status)
        assert await instance(store) == before
        assert await store.steps(pk) == [sleep(until=1_000)]

    @pytest.mark.parametrize("status", ENDED)
    async def test_an_ended_instance_cannot_be_resumed(self, store: Store, status: str):
        await instance_in(store, status)
        with pytest.raises(InstanceStateError, match=status) as refusal:
            await store.resume(WORKFLOW, "one", now=200)
        assert refusal.value.code == "instance.cannot_resume"

    async def test_an_instance_stopped_by_a_contradiction_goes_on_with_its_journal(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1)], instance=ended("errored", at=100, error=CONTRADICTION)))
        assert await store.resume(WORKFLOW, "one", now=300) == Transition(pk, "errored", "queued")
        found = await instance(store)
        assert (found.status, found.due_at, found.ended_at, found.error) == ("queued", 300, None, None)
        assert await store.steps(pk) == [do(1)]

    async def test_a_contradiction_is_no_excuse_for_the_other_verbs(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=ended("errored", at=100, error=CONTRADICTION)))
        for verb in (store.pause, store.terminate):
            with pytest.raises(InstanceStateError, match="errored"):
                await verb(WORKFLOW, "one", now=300)

    @pytest.mark.parametrize("status", ["paused", "waitingForPause"])
    async def test_timers_to_come_move_by_the_time_spent_paused(self, store: Store, status: str):
        pk = await instance_in(store, status)  # paused at 100
        retry = do(3, state="retrying", wake_at=400)
        await store.write(Change(pk, [sleep(1, until=500), wait(2, until=600), retry]))
        await store.resume(WORKFLOW, "one", now=300)
        assert [step.wake_at for step in await store.steps(pk)] == [700, 800, 600]

    async def test_a_sleep_until_a_moment_stays_where_it_is(self, store: Store):
        pk = await instance_in(store, "paused")
        await store.write(Change(pk, [sleep(until=500, absolute=True)]))
        await store.resume(WORKFLOW, "one", now=300)
        assert [step.wake_at for step in await store.steps(pk)] == [500]

    @pytest.mark.parametrize("due", [99, 100])
    async def test_a_timer_due_before_the_pause_does_not_move(self, store: Store, due: int):
        pk = await instance_in(store, "paused")
        await store.write(Change(pk, [sleep(until=due)]))
        await store.resume(WORKFLOW, "one", now=300)
        assert [step.wake_at for step in await store.steps(pk)] == [due]

    async def test_timers_of_steps_that_are_over_do_not_move(self, store: Store):
        pk = await instance_in(store, "paused")
        await store.write(Change(pk, [sleep(until=500, state="complete")]))
        await store.resume(WORKFLOW, "one", now=300)
        assert [step.wake_at for step in await store.steps(pk)] == [500]

    async def test_timers_of_other_instances_do_not_move(self, store: Store):
        await instance_in(store, "paused")
        other = await owned_instance(store, "other")
        await store.write(Change(other, [sleep(until=500)]))
        await store.resume(WORKFLOW, "one", now=300)
        assert [step.wake_at for step in await store.steps(other)] == [500]

    async def test_a_clock_set_back_moves_no_timer_towards_the_past(self, store: Store):
        pk = await instance_in(store, "paused")
        await store.write(Change(pk, [sleep(until=500)]))
        await store.resume(WORKFLOW, "one", now=50)
        assert [step.wake_at for step in await store.steps(pk)] == [500]

    async def test_two_pauses_move_a_timer_twice(self, store: Store):
        pk = await instance_in(store, "paused")
        await store.write(Change(pk, [sleep(until=500)]))
        await store.resume(WORKFLOW, "one", now=200)
        await store.pause(WORKFLOW, "one", now=300)
        await store.resume(WORKFLOW, "one", now=350)
        assert [step.wake_at for step in await store.steps(pk)] == [650]


class Terminating:
    @pytest.mark.parametrize("status", LIVE)
    async def test_whatever_is_alive_can_be_terminated(self, store: Store, status: str):
        pk = await instance_in(store, status)
        before = (await instance(store)).status
        assert await store.terminate(WORKFLOW, "one", now=200) == Transition(pk, before, "terminated")
        found = await instance(store)
        assert (found.status, found.due_at, found.ended_at) == ("terminated", None, 200)

    @pytest.mark.parametrize("status", ENDED)
    async def test_an_ended_instance_cannot_be_terminated(self, store: Store, status: str):
        await instance_in(store, status)
        before = await instance(store)
        with pytest.raises(InstanceStateError, match=status) as refusal:
            await store.terminate(WORKFLOW, "one", now=200)
        assert refusal.value.code == "instance.cannot_terminate"
        assert await instance(store) == before

    async def test_open_steps_are_cancelled_and_ended_ones_kept(self, store: Store):
        pk = await owned_instance(store)
        steps = [do(1, ended_at=20), do(2, state="errored", ended_at=30), do(3, state="running"), sleep(4, until=500)]
        await store.write(Change(pk, [*steps, do(5, state="retrying", wake_at=90)]))
        await store.terminate(WORKFLOW, "one", now=200)
        states = [(step.state, step.ended_at) for step in await store.steps(pk)]
        assert states == [("complete", 20), ("errored", 30), *[("cancelled", 200)] * 3]

    async def test_of_racing_terminations_one_succeeds(self, store: Store):
        await owned_instance(store)
        racers = (store.terminate(WORKFLOW, "one", now=200) for _ in range(10))
        answers = await asyncio.gather(*racers, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Transition] + [InstanceStateError] * 9


class Restarting:
    @pytest.mark.parametrize("status", [*LIVE, *ENDED])
    async def test_an_instance_restarts_from_every_status_as_if_new(self, store: Store, status: str):
        pk = await instance_in(store, status)
        before = (await instance(store)).status
        assert await store.restart(WORKFLOW, "one", now=200, version="v2") == Transition(pk, before, "queued")
        found = await instance(store)
        assert (found.status, found.due_at, found.created_at, found.version) == ("queued", 200, 10, "v2")
        assert (found.started_at, found.ended_at, found.paused_at) == (None, None, None)
        assert (found.output, found.error) == (None, None)

    async def test_the_journal_and_the_events_are_forgotten(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1), sleep(2, until=500)], [failed_attempt()]))
        await store.send_event(WORKFLOW, "one", type="t", payload=None, now=20)
        await store.restart(WORKFLOW, "one", now=200, version=None)
        [claimed] = (await store.claim([WORKFLOW], now=200, limit=1)).claimed
        assert (claimed.steps, claimed.events) == ([], [])
        assert await store.attempts(pk) == []

    async def test_nothing_of_other_instances_is_forgotten(self, store: Store):
        await owned_instance(store)
        other = await owned_instance(store, "other")
        await store.write(Change(other, [do(1)], [failed_attempt()]))
        sent = await store.send_event(WORKFLOW, "other", type="t", payload=None, now=20)
        await store.restart(WORKFLOW, "one", now=200, version=None)
        await store.write(Change(other, instance=waiting(100)))
        claimed = (await store.claim([WORKFLOW], now=200, limit=2)).claimed[0]
        assert (claimed.steps, claimed.events) == ([do(1)], [sent.event])
        assert await store.attempts(other) == [failed_attempt()]

    async def test_recoveries_are_forgotten(self, store: Store):
        await owned_instance(store)
        for now in (10, 20):
            await _crash(store, now)
        await store.restart(WORKFLOW, "one", now=200, version=None)
        await claimed_ids(store, now=200)
        assert await _crash(store, 300) == 1

    async def test_pieces_happenings_and_the_rollback_are_forgotten(self, store: Store):
        pk = await owned_instance(store)
        await store.write_chunk(pk, 1, 1, 0, b"piece")
        await store.write(Change(pk, [do(1)], instance=waiting(20)))
        await store.write(Change(pk, instance=ended("errored", error=BOOM, rollback="{}", expires_at=60)))
        await store.restart(WORKFLOW, "one", now=200, version=None)
        assert await store.chunks(pk, 1, 1, after=0, limit=9) == []
        assert await said(store, pk) == ["restarted"]
        assert (await instance(store)).rollback is None
        assert await store.expire(now=1_000, limit=9) == 0

    async def test_parent_tags_and_retention_stay(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance(parent=parent, tags=["red"], success_retention_ms=5, error_retention_ms=7))
        await store.restart(WORKFLOW, "one", now=200, version=None)
        found = await instance(store)
        assert (found.parent, found.tags, found.success_retention_ms, found.error_retention_ms) == (
            parent,
            '["red"]',
            5,
            7,
        )
        assert await store.page(WORKFLOW, status=None, limit=9, cursor=None, tag="red") == [found]

    async def test_the_params_stay(self, store: Store):
        await store.create(new_instance(params='{"a":1}'))
        await store.restart(WORKFLOW, "one", now=200, version=None)
        assert (await instance(store)).params == '{"a":1}'


class RestartingFromAStep:
    async def test_what_ended_before_the_step_is_kept_and_the_rest_forgotten(self, store: Store):
        pk = await owned_instance(store)
        kept = [do(1, ended_at=20, result="1"), do(2, state="errored", ended_at=30, error=BOOM)]
        gone = [sleep(3, until=500), do(4, state="cancelled"), do(5), do(6), sleep(7, until=9, state="complete")]
        attempts = [failed_attempt(seq) for seq in (2, 3, 4, 5, 6)]
        await store.write(Change(pk, [*kept, *gone], attempts))
        await _restart_from(store, do(5))
        assert await store.steps(pk) == kept
        assert await store.attempts(pk) == [attempts[0]]

    async def test_the_step_itself_begins_anew_even_if_it_is_the_first(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1), do(2)], [failed_attempt(1)]))
        await _restart_from(store, do(1))
        assert (await store.steps(pk), await store.attempts(pk)) == ([], [])

    async def test_a_step_is_told_by_its_kind_its_name_and_its_count(self, store: Store):
        pk = await owned_instance(store)
        names = [("sleep", "x", 1), ("do", "y", 1), ("do", "x", 1), ("do", "x", 2)]
        steps = [StepRecord(seq, *name, "complete", ended_at=20) for seq, name in enumerate(names, 1)]
        await store.write(Change(pk, steps))
        await store.restart(WORKFLOW, "one", now=200, version=None, from_step=StepKey("do", "x", 2))
        assert await store.steps(pk) == steps[:3]
        await store.restart(WORKFLOW, "one", now=200, version=None, from_step=StepKey("do", "x", 1))
        assert await store.steps(pk) == steps[:2]

    async def test_a_step_inside_a_step_is_no_target_and_goes_with_the_outer_one(self, store: Store):
        pk = await owned_instance(store)
        rows = [do(1), do(2), do(3, parent=2), do(4, parent=2), do(5)]
        await store.write(Change(pk, rows))
        with pytest.raises(InstanceStateError):
            await _restart_from(store, do(3))
        await _restart_from(store, do(5))
        assert await store.steps(pk) == rows[:4]
        await _restart_from(store, do(2))
        assert await store.steps(pk) == rows[:1]

    async def test_an_open_step_that_is_forgotten_takes_its_inner_steps_with_it(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1, "running"), do(2, parent=1), do(3)]))
        await _restart_from(store, do(3))
        assert await store.steps(pk) == []

    async def test_a_history_with_gaps_no_longer_says_what_had_a_row(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1, asked_after=0, settlement=1, sent_after=0), do(2)]))
        await _restart_from(store, do(2))
        assert await store.steps(pk) == [do(1, asked_after=0, settlement=1)]

    async def test_rollback_rows_are_forgotten_wherever_they_are(self, store: Store):
        pk = await owned_instance(store)
        rows = [do(1), compensation(2, "early"), do(3), do(4), compensation(5, "", "running"), compensation(6, "step")]
        await store.write(Change(pk, rows))
        await _restart_from(store, do(4))
        assert await store.steps(pk) == [do(1), do(3)]

    async def test_events_are_forgotten(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1), do(2)]))
        await store.send_event(WORKFLOW, "one", type="t", payload=None, now=20)
        await _restart_from(store, do(2))
        [claimed] = (await store.claim([WORKFLOW], now=200, limit=1)).claimed
        assert (claimed.steps, claimed.events) == ([do(1)], [])

    async def test_pieces_of_kept_steps_are_kept(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1), do(2)]))
        for seq in (1, 2):
            await store.write_chunk(pk, seq, 1, 0, b"piece")
        await _restart_from(store, do(2))
        assert [await store.chunks(pk, seq, 1, after=0, limit=9) for seq in (1, 2)] == [[b"piece"], []]

    async def test_nothing_of_other_instances_is_forgotten(self, store: Store):
        pk, other = await owned_instance(store), await owned_instance(store, "other")
        for one in (pk, other):
            await store.write(Change(one, [do(1), do(2)], [failed_attempt(2)]))
            await store.write_chunk(one, 2, 1, 0, b"piece")
        await _restart_from(store, do(1))
        assert await store.steps(other) == [do(1), do(2)]
        assert await store.attempts(other) == [failed_attempt(2)]
        assert await store.chunks(other, 2, 1, after=0, limit=9) == [b"piece"]

    @pytest.mark.parametrize("status", [*LIVE, *ENDED])
    async def test_an_instance_restarts_from_a_step_from_every_status(self, store: Store, status: str):
        pk = await instance_in(store, status)
        await store.write(Change(pk, [do(1), do(2)]))
        before = (await instance(store)).status
        assert await _restart_from(store, do(2)) == Transition(pk, before, "queued")
        found = await instance(store)
        assert (found.status, found.due_at, found.created_at, found.version) == ("queued", 200, 10, "v2")
        assert (found.started_at, found.ended_at, found.paused_at) == (None, None, None)
        assert (found.output, found.error, found.rollback) == (None, None, None)

    @pytest.mark.parametrize(
        "target", [StepKey("do", "step-9", 1), StepKey("do", "step-1", 2), StepKey("sleep", "step-1", 1)]
    )
    async def test_an_unknown_step_is_refused_and_nothing_changes(self, store: Store, target: StepKey):
        pk = await owned_instance(store)
        sent = await store.send_event(WORKFLOW, "one", type="t", payload=None, now=20)
        await store.write_chunk(pk, 1, 2, 0, b"piece")
        journal = [do(1), sleep(2, until=500), compensation(3, "", "running")]
        await store.write(Change(pk, journal, [failed_attempt(1)], instance=waiting(500)))
        before, happened = await instance(store), await store.history(pk, after=0)
        with pytest.raises(InstanceStateError) as refusal:
            await store.restart(WORKFLOW, "one", now=200, version="v2", from_step=target)
        assert refusal.value.code == "instance.cannot_restart"
        assert await instance(store) == before
        assert await store.attempts(pk) == [failed_attempt(1)]
        assert await store.chunks(pk, 1, 2, after=0, limit=9) == [b"piece"]
        assert await store.history(pk, after=0) == happened
        [claimed] = (await store.claim([WORKFLOW], now=500, limit=1)).claimed
        assert (claimed.steps, claimed.events) == (journal, [sent.event])

    async def test_a_failed_attempt_leaves_no_pieces(self, store: Store):
        pk = await owned_instance(store)
        await store.write_chunk(pk, 1, 1, 0, b"piece")
        await store.write(Change(pk, [do(1, state="errored")], [failed_attempt(1)]))
        assert await store.chunks(pk, 1, 1, after=0, limit=9) == []

    async def test_an_unknown_step_is_refused_to_an_ended_instance_too(self, store: Store):
        await instance_in(store, "complete")
        before = await instance(store)
        with pytest.raises(InstanceStateError):
            await _restart_from(store, do(1))
        assert await instance(store) == before


class RollingBack:
    @pytest.mark.parametrize("status", LIVE)
    async def test_whatever_is_alive_is_due_with_a_marker_that_says_why(self, store: Store, status: str):
        pk = await instance_in(store, status)
        await store.write(Change(pk, [do(1, compensable=True), do(4, state="running")]))
        before = (await instance(store)).status
        done = await store.begin_rollback(WORKFLOW, "one", now=200, error=BOOM)
        assert done == Transition(pk, before, "queued")
        found = await instance(store)
        assert (found.status, found.due_at, found.paused_at, found.ended_at) == ("queued", 200, None, None)
        [claimed] = (await store.claim([WORKFLOW], now=200, limit=1)).claimed
        marker = StepRecord(5, "rollback", "", 1, "running", started_at=200, error=BOOM)
        assert claimed.steps == [do(1, compensable=True), do(4, state="running"), marker]

    async def test_an_instance_without_steps_has_a_marker_too(self, store: Store):
        pk = await owned_instance(store)
        await store.begin_rollback(WORKFLOW, "one", now=200, error=BOOM)
        assert [(step.seq, step.kind) for step in await store.steps(pk)] == [(1, "rollback")]

    async def test_there_is_one_marker_and_its_first_reason_stands(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1)]))
        await store.begin_rollback(WORKFLOW, "one", now=200, error=BOOM)
        await store.write(Change(pk, [compensation(3, "step-1")]))
        await store.begin_rollback(WORKFLOW, "one", now=300, error=CONTRADICTION)
        _, marker, handler = await store.steps(pk)
        assert (marker.seq, marker.name, marker.started_at, marker.error) == (2, "", 200, BOOM)
        assert handler == compensation(3, "step-1")
        assert (await instance(store)).due_at == 300

    @pytest.mark.parametrize("status", ENDED)
    async def test_an_ended_instance_cannot_be_rolled_back(self, store: Store, status: str):
        pk = await instance_in(store, status)
        before = await instance(store)
        with pytest.raises(InstanceStateError, match=status) as refusal:
            await store.begin_rollback(WORKFLOW, "one", now=200, error=BOOM)
        assert refusal.value.code == "instance.cannot_terminate"
        assert (await instance(store), await store.steps(pk)) == (before, [])


class Deleting:
    @pytest.mark.parametrize("status", [*LIVE, *ENDED])
    async def test_an_instance_is_deleted_from_every_status_with_all_it_had(self, store: Store, status: str):
        pk = await instance_in(store, status)
        await _fill(store, pk)
        assert await store.delete(WORKFLOW, "one", now=200) == Deletion(pk)
        await _assert_gone(store, pk)

    async def test_nothing_of_other_instances_is_deleted(self, store: Store):
        await owned_instance(store)
        other = await store.create(new_instance("other", owned=True, tags=["red"]))
        await _fill(store, other)
        sent = await store.send_event(WORKFLOW, "other", type="t", payload=None, now=20)
        happened = await store.history(other, after=0)
        await store.delete(WORKFLOW, "one", now=200)
        assert await store.steps(other) == [do(1)]
        assert await store.attempts(other) == [failed_attempt()]
        assert await store.chunks(other, 1, 2, after=0, limit=9) == [b"piece"]
        assert await store.history(other, after=0) == happened
        assert len(await store.page(WORKFLOW, status=None, limit=9, cursor=None, tag="red")) == 1
        await store.release(now=30)
        [claimed] = (await store.claim([WORKFLOW], now=1_000_000, limit=9)).claimed
        assert claimed.events == [sent.event]

    async def test_the_id_may_be_used_again_and_nothing_comes_back(self, store: Store):
        pk = await store.create(new_instance(owned=True, tags=["red"]))
        await _fill(store, pk)
        await store.delete(WORKFLOW, "one", now=200)
        again = await store.create(new_instance(at=10))
        await _assert_gone(store, pk, id="another")
        [claimed] = (await store.claim([WORKFLOW], now=10, limit=1)).claimed
        assert (claimed.instance.pk, claimed.steps, claimed.events) == (again, [], [])
        assert claimed.instance.started_at == 10

    async def test_a_key_is_never_used_again(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance("child", parent=parent))
        for _ in range(3):
            last = await store.create(new_instance())
            await store.delete(WORKFLOW, "one", now=200)
        await store.delete(WORKFLOW, "child", now=200)
        await store.delete(WORKFLOW, "parent", now=200)
        assert await store.create(new_instance()) > last

    async def test_children_are_nobody_elses_once_their_parent_is_deleted(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance("child", parent=parent))
        await store.delete(WORKFLOW, "parent", now=200)
        stranger = await store.create(new_instance("stranger"))
        assert (await instance(store, "child")).parent == parent
        assert await store.descendants(stranger) == []

    @pytest.mark.parametrize("status", ["parent", "plain"])
    async def test_deleting_a_child_that_has_not_ended_wakes_its_parent(self, store: Store, status: str):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance("child", parent=parent if status == "parent" else None))
        await store.write(Change(parent, [child()], instance=waiting(1_000_000)))
        await store.delete(WORKFLOW, "child", now=200)
        assert (await instance(store, "parent")).due_at == (0 if status == "parent" else 1_000_000)

    async def test_an_unknown_instance_cannot_be_deleted(self, store: Store):
        with pytest.raises(InstanceNotFoundError, match="nobody") as refusal:
            await store.delete(WORKFLOW, "nobody", now=200)
        assert refusal.value.code == "instance.not_found"


class Expiring:
    @pytest.mark.parametrize("status", ENDED)
    async def test_what_is_over_is_deleted_with_all_it_had_from_its_moment_on(self, store: Store, status):
        pk = await store.create(new_instance(owned=True, tags=["red"]))
        await _fill(store, pk)
        await store.write(Change(pk, instance=ended(status, expires_at=500)))
        assert await store.expire(now=499, limit=9) == 0
        assert (await instance(store)).status == status
        assert await store.expire(now=500, limit=9) == 1
        await _assert_gone(store, pk)

    async def test_it_goes_in_pieces_the_earliest_first(self, store: Store):
        for at in (30, 10, 50, 20, 40, 90):
            pk = await owned_instance(store, f"until-{at}")
            await store.write(Change(pk, instance=ended(expires_at=at)))
        left = []
        while await store.expire(now=60, limit=2):
            left.append({one.id for one in await store.page(WORKFLOW, status=None, limit=9, cursor=None)})
        untils = [[30, 40, 50, 90], [50, 90], [90]]
        assert left == [{f"until-{at}" for at in piece} for piece in untils]

    @pytest.mark.parametrize("status", [*LIVE, *ENDED])
    async def test_what_has_no_moment_is_kept_for_ever(self, store: Store, status: str):
        await instance_in(store, status)
        assert await store.expire(now=2**53, limit=9) == 0

    async def test_a_terminated_instance_is_kept_as_long_as_a_successful_one(self, store: Store):
        await store.create(new_instance(success_retention_ms=50, error_retention_ms=10))
        await store.terminate(WORKFLOW, "one", now=100)
        assert await store.expire(now=149, limit=9) == 0
        assert await store.expire(now=150, limit=9) == 1

    async def test_what_goes_on_again_does_not_expire(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=ended("errored", error=CONTRADICTION, expires_at=60)))
        await store.resume(WORKFLOW, "one", now=55)
        assert await store.expire(now=1_000, limit=9) == 0

    async def test_an_end_that_came_too_late_changes_no_moment(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, instance=ended(expires_at=500)))
        await store.write(Change(pk, instance=ended("errored", error=BOOM, expires_at=60)))
        assert await store.expire(now=499, limit=9) == 0


class Parenting:
    @pytest.mark.parametrize("end", ENDED)
    async def test_the_end_of_a_child_wakes_the_parent_that_waits(self, store: Store, end):
        parent, one = await _parent_and_child(store)
        await store.write(Change(parent, [child()], instance=waiting(None)))
        await store.write(Change(one, instance=ended(end, parent=parent)))
        assert await claimed_ids(store, now=100) == ["parent"]

    async def test_terminating_a_child_wakes_the_parent_that_waits(self, store: Store):
        parent, _ = await _parent_and_child(store)
        await store.write(Change(parent, [child()], instance=waiting(None)))
        await store.terminate(WORKFLOW, "child", now=50)
        assert await claimed_ids(store, now=100) == ["parent"]

    @pytest.mark.parametrize("end", [*ENDED, "terminated by a verb"])
    async def test_a_parent_parked_while_its_child_has_ended_is_due(self, store: Store, end):
        parent, one = await _parent_and_child(store)
        if end in ENDED:
            await store.write(Change(one, instance=ended(end, parent=parent)))
        else:
            await store.terminate(WORKFLOW, "child", now=50)
        await store.write(Change(parent, [child()], instance=waiting(1_000_000)))
        assert await claimed_ids(store, now=100) == ["parent"]

    @pytest.mark.parametrize("first", ["child", "parent"])
    async def test_neither_order_within_a_group_loses_the_end(self, store: Store, first: str):
        parent, one = await _parent_and_child(store)
        park = Change(parent, [child()], instance=waiting(1_000_000))
        end = Change(one, instance=ended(parent=parent))
        await asyncio.gather(*map(store.write, (end, park) if first == "child" else (park, end)))
        assert await claimed_ids(store, now=100) == ["parent"]

    async def test_a_child_that_goes_on_wakes_nobody(self, store: Store):
        parent, one = await _parent_and_child(store)
        await store.write(Change(parent, [child()], instance=waiting(1_000)))
        await store.write(Change(one, instance=waiting(2_000)))
        assert (await instance(store, "parent")).due_at == 1_000

    @pytest.mark.parametrize(
        "step",
        [child(state="complete"), child(id="another"), child(of="another"), sleep(until=1_000)],
        ids=["had its result", "another child", "another workflow", "no child"],
    )
    async def test_a_parent_that_waits_for_something_else_stays_parked(self, store: Store, step):
        parent, one = await _parent_and_child(store)
        await store.write(Change(one, instance=ended(parent=parent)))
        await store.write(Change(parent, [step], instance=waiting(1_000)))
        assert (await instance(store, "parent")).due_at == 1_000

    async def test_in_one_group_too(self, store: Store):
        parent, one = await _parent_and_child(store)
        changes = [Change(one, instance=ended(parent=parent)), Change(parent, instance=waiting(1_000))]
        await asyncio.gather(*map(store.write, changes))
        assert (await instance(store, "parent")).due_at == 1_000

    async def test_somebody_elses_instance_of_that_name_wakes_nobody(self, store: Store):
        parent = await owned_instance(store, "parent")
        one = await owned_instance(store, "child")
        await store.write(Change(one, instance=ended()))
        await store.write(Change(parent, [child()], instance=waiting(1_000)))
        assert (await instance(store, "parent")).due_at == 1_000

    @pytest.mark.parametrize("status", ["queued", "running", "released", "waitingForPause", "paused", *ENDED])
    async def test_a_parent_that_does_not_wait_stays_as_it_is(self, store: Store, status: str):
        parent = await owned_instance(store)
        one = await store.create(new_instance("child", owned=True, parent=parent))
        await bring_to(store, status, parent)
        before = await instance(store)
        await store.write(Change(one, instance=ended(parent=parent)))
        assert await instance(store) == before

    async def test_a_family_is_everybody_below_parents_before_their_children(self, store: Store):
        root = await owned_instance(store, "root")
        first = await store.create(new_instance("first", owned=True, parent=root))
        await store.create(new_instance("stranger"))
        second = await store.create(new_instance("second", workflow="other", owned=True, parent=root))
        await store.create(new_instance("grandchild", parent=second))
        last = await store.create(new_instance("cousin", parent=first))
        assert [one.id for one in await store.descendants(root)] == ["first", "second", "grandchild", "cousin"]
        assert await store.descendants(first) == [await instance(store, "cousin")]
        assert await store.descendants(last) == []
        assert await store.descendants(1_000_000) == []

    async def test_ended_members_of_a_family_are_shown(self, store: Store):
        parent, one = await _parent_and_child(store)
        await store.write(Change(one, instance=ended()))
        assert await store.descendants(parent) == [await instance(store, "child")]


class CreatingChildren:
    @pytest.mark.parametrize("status", ["running", "waiting"])
    @pytest.mark.parametrize("owned", [True, False], ids=["owned", "due"])
    async def test_a_parent_at_work_gets_its_child(self, store: Store, status: str, owned: bool):
        parent = await instance_in(store, status, "parent")
        await store.create(new_instance(at=50, owned=owned, parent=parent))
        one = await instance(store)
        assert (one.status, one.due_at) == (("running", None) if owned else ("queued", 50))
        assert (one.parent, one.started_at, one.paused_at) == (parent, 50 if owned else None, None)

    @pytest.mark.parametrize("owned", [True, False], ids=["owned", "due"])
    async def test_a_child_of_one_that_is_being_paused_is_paused_and_nobodys(self, store: Store, owned: bool):
        parent = await instance_in(store, "waitingForPause", "parent")
        creating = store.create(new_instance(at=150, owned=owned, parent=parent, tags=["red"]))
        if owned:
            with pytest.raises(InstanceLostError) as lost:
                await creating
        pk = lost.value.pk if owned else await creating
        one = await instance(store)
        assert (one.pk, one.status, one.due_at, one.started_at, one.paused_at) == (pk, "paused", None, None, 150)
        assert [page.id for page in await store.page(WORKFLOW, status=None, limit=9, cursor=None, tag="red")] == ["one"]

    async def test_it_goes_on_with_its_parent(self, store: Store):
        parent = await instance_in(store, "waitingForPause", "parent")
        pk = await store.create(new_instance(at=150, parent=parent))
        done = await store.resume(WORKFLOW, "parent", now=200)
        assert [(one.instance.pk, one.instance.status, one.after) for one in done.children] == [
            (pk, "paused", "queued")
        ]
        assert await claimed_ids(store, now=200) == ["one"]

    @pytest.mark.parametrize("status", ["queued", "paused", *ENDED])
    async def test_a_parent_that_was_moved_gets_none(self, store: Store, status: str):
        parent = await owned_instance(store, "parent")
        await bring_to(store, status, parent, "parent")
        for owned in (True, False):
            with pytest.raises(InstanceLostError) as lost:
                await store.create(new_instance(owned=owned, parent=parent))
            assert lost.value.pk == parent
        assert await store.find(WORKFLOW, "one") is None

    async def test_a_parent_that_was_deleted_gets_none(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.delete(WORKFLOW, "parent", now=50)
        with pytest.raises(InstanceLostError):
            await store.create(new_instance(parent=parent))
        assert await store.find(WORKFLOW, "one") is None

    async def test_an_id_that_is_taken_is_refused_as_ever(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance())
        with pytest.raises(InstanceExistsError, match="one"):
            await store.create(new_instance(parent=parent))
        assert (await instance(store)).parent is None

    async def test_children_and_others_share_a_group_and_are_numbered_in_their_order(self, store: Store):
        at_work = await owned_instance(store, "parent")
        over = await instance_in(store, "complete", "over")
        parents = [None, at_work, over, None, at_work, at_work, over]
        answers = await asyncio.gather(
            *(store.create(new_instance(f"i{number}", parent=parent)) for number, parent in enumerate(parents)),
            return_exceptions=True,
        )
        made = [answer for answer in answers if isinstance(answer, int)]
        assert made == sorted(made)
        lost = [number for number, answer in enumerate(answers) if isinstance(answer, InstanceLostError)]
        assert lost == [number for number, parent in enumerate(parents) if parent == over]

    @pytest.mark.parametrize("verb", ["pause", "terminate", "begin_rollback", "restart", "delete"])
    async def test_no_child_asked_for_beside_a_verb_is_left_at_work(self, store: Store, verb: str):
        parent = await owned_instance(store, "parent")

        async def create(id: str) -> int:
            return await store.create(new_instance(id, owned=True, parent=parent))

        asked = (create("a"), create("b"), _ask(store, verb, "parent"), create("c"), create("d"))
        *_, done, _, _ = await asyncio.gather(*asked, return_exceptions=True)
        assert [one.instance.id for one in done.children] == ["a", "b"]
        left = {one.status for one in await store.descendants(parent)}
        assert left <= ({"waitingForPause", "paused"} if verb == "pause" else {"terminated"})


class Families:
    """What is done to an instance reaches its children that have not ended, and theirs, in the same transaction."""

    @pytest.mark.parametrize("verb", ["terminate", "begin_rollback", "restart", "delete"])
    async def test_everybody_below_is_ended(self, store: Store, verb: str):
        await _family(store)
        done = await _ask(store, verb, "top")
        assert [(one.instance.id, one.instance.status, one.after) for one in done.children] == [
            ("middle", "running", "terminated"),
            ("low", "queued", "terminated"),
            ("below over", "waiting", "terminated"),
        ]
        for id in ("middle", "low", "below over"):
            one = await instance(store, id)
            assert (one.status, one.due_at, one.ended_at) == ("terminated", None, 200)
        assert (await instance(store, "over")).status == "complete"
        assert (await instance(store, "stranger")).status == "queued"
        assert await claimed_ids(store, now=100) == ["stranger"]

    async def test_their_open_steps_are_cancelled_and_they_expire(self, store: Store):
        parent = await owned_instance(store, "parent")
        pk = await store.create(new_instance(owned=True, parent=parent, success_retention_ms=50))
        await store.write(Change(pk, [do(1), wait(2)], instance=waiting(None)))
        await store.terminate(WORKFLOW, "parent", now=200)
        assert [step.state for step in await store.steps(pk)] == ["complete", "cancelled"]
        assert "ended" in await said(store, pk)
        assert (await store.expire(now=249, limit=9), await store.expire(now=250, limit=9)) == (0, 1)

    async def test_everybody_below_is_paused_and_goes_on(self, store: Store):
        pks = await _family(store)
        await store.write(Change(pks["below over"], [sleep(until=1_000)]))
        done = await store.pause(WORKFLOW, "top", now=200)
        assert (done.after, [(one.instance.id, one.after) for one in done.children]) == (
            "waitingForPause",
            [("middle", "waitingForPause"), ("low", "paused"), ("below over", "paused")],
        )
        assert (await said(store, pks["low"]))[-1] == "workflow_paused"
        assert (await said(store, pks["middle"]))[-1] == "workflow_waiting_for_pause"
        done = await store.resume(WORKFLOW, "top", now=300)
        assert (done.after, [(one.instance.id, one.after) for one in done.children]) == (
            "running",
            [("middle", "running"), ("low", "queued"), ("below over", "queued")],
        )
        assert (await said(store, pks["middle"]))[-1] == "workflow_running"
        assert [step.wake_at for step in await store.steps(pks["below over"])] == [1_100]
        assert (await instance(store, "over")).status == "complete"

    async def test_one_that_goes_on_after_a_contradiction_leaves_its_children_as_they_are(self, store: Store):
        parent = await owned_instance(store, "parent")
        pk = await store.create(new_instance(owned=True, parent=parent))
        await store.write(Change(pk, instance=waiting(1_000_000)))
        await store.pause(WORKFLOW, "one", now=50)
        await store.write(Change(parent, instance=ended("errored", error=CONTRADICTION)))
        assert (await store.resume(WORKFLOW, "parent", now=100)).children == ()
        assert (await instance(store)).status == "paused"

    async def test_deleting_one_that_has_ended_leaves_its_children_at_work(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance(owned=True, parent=parent))
        await store.write(Change(parent, instance=ended()))
        assert (await store.delete(WORKFLOW, "parent", now=100)).children == ()
        assert (await instance(store)).status == "running"

    async def test_restarting_one_that_has_ended_ends_the_children_it_had(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance(owned=True, parent=parent))
        await store.write(Change(parent, instance=ended("errored", error=BOOM)))
        await store.restart(WORKFLOW, "parent", now=100, version=None)
        assert (await instance(store)).status == "terminated"

    async def test_a_restart_that_is_refused_ends_nobody(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.create(new_instance(owned=True, parent=parent))
        with pytest.raises(InstanceStateError):
            await store.restart(WORKFLOW, "parent", now=100, version=None, from_step=StepKey("do", "no", 1))
        assert (await instance(store)).status == "running"

    async def test_a_parent_parked_after_its_child_was_deleted_is_due(self, store: Store):
        parent, _ = await _parent_and_child(store)
        await store.delete(WORKFLOW, "child", now=50)
        await store.write(Change(parent, [child(attempt=1)], instance=waiting(1_000_000)))
        assert (await instance(store, "parent")).due_at == 0

    async def test_a_parent_parked_before_its_child_was_created_is_not(self, store: Store):
        parent = await owned_instance(store, "parent")
        await store.write(Change(parent, [child()], instance=waiting(1_000_000)))
        assert (await instance(store, "parent")).due_at == 1_000_000


class Streaming:
    async def test_pieces_come_back_in_order_from_a_number_on(self, store: Store):
        pk = await owned_instance(store)
        for number in (0, 2, 1, 3):
            await store.write_chunk(pk, 1, 1, number, bytes([number]))
        assert await store.chunks(pk, 1, 1, after=0, limit=9) == [b"\0", b"\1", b"\2", b"\3"]
        assert await store.chunks(pk, 1, 1, after=1, limit=2) == [b"\1", b"\2"]
        assert await store.chunks(pk, 1, 1, after=4, limit=2) == []

    async def test_a_later_attempt_replaces_all_pieces_of_the_earlier_one(self, store: Store):
        pk = await owned_instance(store)
        for number in range(3):
            await store.write_chunk(pk, 1, 1, number, b"first")
        await store.write_chunk(pk, 1, 2, 0, b"second")
        await store.write_chunk(pk, 1, 2, 1, b"second")
        assert await store.chunks(pk, 1, 1, after=0, limit=9) == []
        assert await store.chunks(pk, 1, 2, after=0, limit=9) == [b"second", b"second"]

    async def test_a_piece_written_again_replaces_itself(self, store: Store):
        pk = await owned_instance(store)
        for data in (b"first", b"second"):
            await store.write_chunk(pk, 1, 1, 0, data)
        assert await store.chunks(pk, 1, 1, after=0, limit=9) == [b"second"]

    async def test_streams_of_other_steps_and_instances_are_left_alone(self, store: Store):
        pk, other = await owned_instance(store), await owned_instance(store, "other")
        for where in ((pk, 1), (pk, 2), (other, 1)):
            await store.write_chunk(*where, 1, 0, b"first")
        await store.write_chunk(pk, 1, 2, 0, b"second")
        assert await store.chunks(pk, 2, 1, after=0, limit=9) == [b"first"]
        assert await store.chunks(other, 1, 1, after=0, limit=9) == [b"first"]


class Telling:
    async def test_a_new_instance_has_no_happenings(self, store: Store):
        assert await store.history(await owned_instance(store), after=0) == []

    async def test_a_life_is_told_in_the_order_it_was_written(self, store: Store):
        pk = await store.create(new_instance())
        await store.claim([WORKFLOW], now=5, limit=1)
        await store.write(Change(pk, [do(1, state="running")]))
        await store.write(Change(pk, [do(2, ended_at=20)]))
        await store.write(Change(pk, [do(1, state="retrying", wake_at=40)], [failed_attempt(1, 1)]))
        await store.write(Change(pk, instance=InstanceChange("waiting", due_at=40, at=30)))
        await store.claim([WORKFLOW], now=40, limit=1)
        await store.write(Change(pk, [do(1, state="errored", ended_at=45)], [failed_attempt(1, 2)]))
        await store.write(Change(pk, instance=ended("errored", error=BOOM)))
        assert await said(store, pk) == [
            "workflow_running",
            "step 1",
            "step 2",
            "step_ended 2",
            "attempt 1",
            "workflow_waiting",
            "workflow_running",
            "attempt 1",
            "step_ended 1",
            "ended",
        ]
        moments = [one.at for one in await store.history(pk, after=0) if one.event.startswith("workflow")]
        assert moments == [5, 30, 40]

    async def test_steps_and_attempts_are_told_as_they_are_now(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1, state="retrying")], [failed_attempt()]))
        await store.write(Change(pk, [do(1, attempt=2, ended_at=60)]))
        found = await store.history(pk, after=0)
        step = do(1, attempt=2, ended_at=60)
        assert [(one.at, one.step, one.attempt) for one in found] == [
            (10, step, None),
            (20, None, failed_attempt()),
            (60, step, None),
        ]

    async def test_a_step_begins_before_its_attempt_fails_in_one_group_too(self, store: Store):
        pk = await owned_instance(store)
        changes = [
            Change(pk, [do(1, state="retrying")], [failed_attempt()]),
            Change(pk, [do(2)]),
            Change(pk, [do(1, state="errored", attempt=2, ended_at=60)], [failed_attempt(1, 2)]),
        ]
        await asyncio.gather(*map(store.write, changes))
        words = ["step 1", "attempt 1", "step 2", "step_ended 2", "attempt 1", "step_ended 1"]
        assert await said(store, pk) == words

    async def test_earlier_answers_are_the_beginning_of_later_ones(self, store: Store):
        pk, other = await owned_instance(store), await owned_instance(store, "other")
        events = [
            Change(pk, [do(1, state="running"), do(2, state="running")]),
            Change(other, [do(1)]),
            Change(pk, [do(2, state="retrying")], [failed_attempt(2)], instance=waiting(20)),
            Change(pk, [do(1)], instance=InstanceChange("running")),
            Change(pk, [sleep(3, until=50)]),
            Change(pk, [do(2, attempt=2), do(4)]),
            Change(other, instance=ended()),
            Change(pk, [sleep(3, until=50, state="complete")], instance=ended()),
        ]
        seen: list[tuple[int, str]] = []
        for change in events:
            await store.write(change)
            now = [(one.position, one.event) for one in await store.history(pk, after=0)]
            assert now[: len(seen)] == seen
            last = seen[-1][0] if seen else 0
            assert [(one.position, one.event) for one in await store.history(pk, after=last)] == now[len(seen) :]
            seen = now
        assert len(seen) == 12

    @pytest.mark.parametrize("verb", ["terminate", "begin_rollback"])
    async def test_verbs_are_told_too(self, store: Store, verb: str):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1, state="running")]))
        if verb == "terminate":
            await store.terminate(WORKFLOW, "one", now=20)
        else:
            await store.begin_rollback(WORKFLOW, "one", now=20, error=BOOM)
        assert await said(store, pk) == ["step 1", "ended" if verb == "terminate" else "step 2"]

    async def test_a_move_that_lost_is_not_told(self, store: Store):
        pk = await instance_in(store, "waitingForPause")
        await store.resume(WORKFLOW, "one", now=200)
        await store.write(Change(pk, instance=InstanceChange("paused")))  # the promise was taken back
        assert await said(store, pk) == ["workflow_waiting_for_pause", "workflow_running"]
        await store.terminate(WORKFLOW, "one", now=300)
        for late in (waiting(500), InstanceChange("paused"), ended("complete")):
            await store.write(Change(pk, instance=late))
        assert await said(store, pk) == ["workflow_waiting_for_pause", "workflow_running", "ended"]

    async def test_restarting_from_a_step_keeps_what_is_told_of_earlier_ones(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1)]))
        before = await store.history(pk, after=0)
        await store.write(Change(pk, [do(2)], instance=ended()))
        await _restart_from(store, do(2))
        *kept, _ = await store.history(pk, after=0)
        assert kept == before
        await store.write(Change(pk, [do(2)]))
        assert await said(store, pk, after=before[-1].position) == ["restarted", "step 2", "step_ended 2"]

    async def test_a_restart_is_told_alone_with_a_number_above_all_before(self, store: Store):
        pk = await owned_instance(store)
        last = 0
        for steps in (3, 0, 5):
            await store.write(Change(pk, [do(n) for n in range(1, steps + 1)], instance=ended()))
            await store.restart(WORKFLOW, "one", now=200, version=None)
            [restart] = await store.history(pk, after=0)
            assert (restart.event, restart.at) == ("restarted", 200)
            assert restart.number >= last + 4 + 5 * steps
            last = restart.number
            await store.claim([WORKFLOW], now=201, limit=1)

    async def test_an_end_that_is_taken_back_stays_told_at_its_place(self, store: Store):
        pk = await owned_instance(store)
        await store.write(Change(pk, [do(1)], instance=ended("errored", error=CONTRADICTION)))
        before = [(one.position, one.at) for one in await store.history(pk, after=0)][:2]
        await store.resume(WORKFLOW, "one", now=200)
        after = await store.history(pk, after=0)
        assert [(one.position, one.at) for one in after[:2]] == before
        assert after[-1].event == "workflow_errored"


class Viewing:
    async def test_what_does_not_exist_is_none(self, store: Store):
        await store.create(new_instance(workflow="other"))
        assert await store.find(WORKFLOW, "one") is None

    @pytest.mark.parametrize("verb", ["pause", "resume", "terminate"])
    async def test_verbs_refuse_an_unknown_instance(self, store: Store, verb: str):
        with pytest.raises(InstanceNotFoundError, match="nobody") as refusal:
            await getattr(store, verb)(WORKFLOW, "nobody", now=1)
        assert refusal.value.code == "instance.not_found"

    @pytest.mark.parametrize("from_step", [None, StepKey("do", "step-1", 1)])
    async def test_restart_refuses_an_unknown_instance(self, store: Store, from_step: StepKey | None):
        with pytest.raises(InstanceNotFoundError, match="nobody"):
            await store.restart(WORKFLOW, "nobody", now=1, version=None, from_step=from_step)

    async def test_begin_rollback_refuses_an_unknown_instance(self, store: Store):
        with pytest.raises(InstanceNotFoundError, match="nobody"):
            await store.begin_rollback(WORKFLOW, "nobody", now=1, error=BOOM)

    async def test_pages_show_the_newest_first_and_go_on_below_the_cursor(self, store: Store):
        for n in range(7):
            await store.create(new_instance(f"i{n}", at=n))
        await store.create(new_instance(workflow="other"))
        ids, cursor = [], None
        while page := await store.page(WORKFLOW, status=None, limit=3, cursor=cursor):
            ids.append([one.id for one in page])
            cursor = page[-1].pk
        assert ids == [["i6", "i5", "i4"], ["i3", "i2", "i1"], ["i0"]]

    async def test_a_page_of_one_status_shows_no_other(self, store: Store):
        for status in (*LIVE, *ENDED):
            await instance_in(store, status, id=status)
        page = await store.page(WORKFLOW, status="paused", limit=10, cursor=None)
        assert [one.id for one in page] == ["paused"]

    async def test_pages_of_a_tag_go_on_below_the_cursor(self, store: Store):
        for n in range(6):
            await store.create(new_instance(f"i{n}", tags=["red", "red", "blue"] if n % 2 else ["blue"]))
        await store.create(new_instance("elsewhere", workflow="other", tags=["red"]))
        await store.create(new_instance("plain"))
        ids, cursor = [], None
        while page := await store.page(WORKFLOW, status=None, limit=2, cursor=cursor, tag="red"):
            ids.append([one.id for one in page])
            cursor = page[-1].pk
        assert ids == [["i5", "i3"], ["i1"]]
        blue = await store.page(WORKFLOW, status=None, limit=9, cursor=None, tag="blue")
        assert [one.id for one in blue] == ["i5", "i4", "i3", "i2", "i1", "i0"]

    async def test_a_page_of_a_tag_and_a_status_shows_both(self, store: Store):
        await store.create(new_instance("queued", tags=["red"]))
        await store.create(new_instance("running", tags=["red"], owned=True))
        await store.create(new_instance("plain", owned=True))
        page = await store.page(WORKFLOW, status="running", limit=9, cursor=None, tag="red")
        assert page == [await instance(store, "running")]

    @pytest.mark.parametrize("tag", ["", "re", "RED", "blue"])
    async def test_a_tag_nobody_has_shows_nobody(self, store: Store, tag: str):
        await store.create(new_instance(tags=["red"]))
        assert await store.page(WORKFLOW, status=None, limit=9, cursor=None, tag=tag) == []

    async def test_an_instance_is_found_by_its_key(self, store: Store):
        pk = await owned_instance(store)
        assert await store.by_pk(pk) == await instance(store)
        assert await store.by_pk(pk + 1) is None

    async def test_pages_and_lines_show_records_without_their_values(self, store: Store):
        pk = await store.create(new_instance(params='{"a":1}', owned=True, tags=["red"], error_retention_ms=7))
        await store.write(Change(pk, instance=ended("errored", output="1", error=BOOM, rollback="{}")))
        whole = await instance(store)
        line = structs.replace(whole, rollback=None, params=None, output=None, error=None)
        assert line != whole
        assert await store.page(WORKFLOW, status=None, limit=1, cursor=None) == [line]
        assert await store.page(WORKFLOW, status=None, limit=1, cursor=None, tag="red") == [line]
        assert await store.lines([pk + 1, pk]) == [line]
        assert await store.lines([]) == []

    async def test_counts_are_by_workflow_and_status(self, store: Store):
        for n, status in enumerate(["queued", "queued", "running", "waiting", "complete"]):
            await instance_in(store, status, id=f"i{n}")
        await store.create(new_instance(workflow="other"))
        assert await store.counts() == {
            WORKFLOW: {"queued": 2, "running": 1, "waiting": 1, "complete": 1},
            "other": {"queued": 1},
        }

    async def test_an_empty_store_counts_nothing(self, store: Store):
        assert await store.counts() == {}
        assert await store.unclaimable([]) == {}

    async def test_those_that_are_due_are_counted_for_the_workflows_asked_for(self, store: Store):
        for status in ("queued", "running", "waiting", "waitingForPause", "paused", *ENDED):
            await instance_in(store, status, id=status)
        await store.create(new_instance(workflow="other"))
        await store.create(new_instance("later", at=1_000))
        assert await store.due([WORKFLOW], now=999) == 1  # the queued one; the one that waits sleeps on
        assert await store.due([WORKFLOW, "other"], now=1_000) == 3
        assert await store.due([], now=1_000) == 0

    async def test_unclaimable_are_the_due_ones_of_workflows_nobody_here_runs(self, store: Store):
        for status in ("queued", "running", "waiting", "waitingForPause", "paused", *ENDED):
            await instance_in(store, status, id=status)
        await store.create(new_instance(workflow="here"))
        assert await store.unclaimable(["here"]) == {WORKFLOW: 2}  # the queued one and the waiting one
        assert await store.unclaimable(["here", WORKFLOW]) == {}

    async def test_an_instance_without_a_journal_has_no_steps(self, store: Store):
        pk = await owned_instance(store)
        assert (await store.steps(pk), await store.attempts(pk)) == ([], [])


class StoreConformance(
    Creating,
    Writing,
    Claiming,
    Recovering,
    SendingEvents,
    Pausing,
    Resuming,
    Terminating,
    Restarting,
    RestartingFromAStep,
    RollingBack,
    Deleting,
    Expiring,
    Parenting,
    CreatingChildren,
    Families,
    Streaming,
    Telling,
    Viewing,
):
    """Everything above, for one implementation."""


async def _crash(store: Store, now: int) -> int:
    """Recover what its owner left, claim it again, and return how many recoveries in a row were counted."""
    await store.recover(now=now)
    [claimed] = (await store.claim([WORKFLOW], now=now, limit=10)).claimed
    return claimed.instance.recoveries


async def _restart_from(store: Store, step: StepRecord) -> Transition:
    key = StepKey(step.kind, step.name, step.count)
    return await store.restart(WORKFLOW, "one", now=200, version="v2", from_step=key)


async def _parent_and_child(store: Store) -> tuple[int, int]:
    parent = await owned_instance(store, "parent")
    return parent, await store.create(new_instance("child", owned=True, parent=parent))


async def _family(store: Store) -> dict[str, int]:
    """A family of three generations, a stranger beside it, and one that has ended in the middle of it."""
    pks = {"top": await owned_instance(store, "top")}
    for id, parent in (("middle", "top"), ("over", "top"), ("low", "middle"), ("below over", "over")):
        pks[id] = await store.create(new_instance(id, owned=id != "low", parent=pks[parent]))
    await store.create(new_instance("stranger"))
    await store.write(Change(pks["over"], instance=ended()))
    await store.write(Change(pks["below over"], instance=waiting(1_000_000)))
    return pks


def _ask(store: Store, verb: str, id: str):
    more = {"begin_rollback": {"error": BOOM}, "restart": {"version": None}}.get(verb, {})
    return getattr(store, verb)(WORKFLOW, id, now=200, **more)


async def _fill(store: Store, pk: int) -> None:
    """Give an instance something of everything."""
    await store.write(Change(pk, [do(1)], [failed_attempt()], instance=InstanceChange("running")))
    await store.write_chunk(pk, 1, 2, 0, b"piece")


async def _assert_gone(store: Store, pk: int, id: str = "one") -> None:
    assert await store.find(WORKFLOW, id) is None
    assert await store.by_pk(pk) is None
    assert (await store.steps(pk), await store.attempts(pk), await store.history(pk, after=0)) == ([], [], [])
    assert await store.chunks(pk, 1, 1, after=0, limit=9) == []
    assert await store.page(WORKFLOW, status=None, limit=9, cursor=None, tag="red") == []
