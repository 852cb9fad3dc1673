"""The idempotency key of a step: one for everything that is the same call, another one for everything else."""

from __future__ import annotations

from everstep import current_step

from .factories import AWAY, flow, one_step


def keep_key_in(keys):
    async def keep():
        keys.append(current_step().idempotency_key)

    return keep


async def test_the_idempotency_key_is_the_same_in_every_attempt_and_after_a_crash(running):
    """S §1.2"""
    keys = []

    async def charge(ctx):
        keys.append(ctx.idempotency_key)
        assert current_step().idempotency_key == ctx.idempotency_key
        raise ConnectionError

    machine = await running(
        shop := one_step(charge, {"retries": {"limit": 2, "delay": "1 second", "backoff": "constant"}}), options=AWAY
    )
    await machine.create(shop)
    await machine.advance("1 second")
    await machine.reboot()
    await machine.advance("1 second")
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32


async def test_every_step_and_every_instance_has_an_idempotency_key_of_its_own(running):
    """S §1.2"""
    keys = []
    keep = keep_key_in(keys)

    @flow
    async def shop(event, step):
        async def outer():
            await step.do("charge", keep)
            await keep()

        await step.do("charge", keep)
        await step.do("charge", keep)
        await step.do("refund", keep)
        await step.do("one", outer)
        await step.do("other", outer)

    machine = await running(shop)
    await machine.run(shop, id="one")
    await machine.run(shop, id="other")
    assert len(keys) == 14
    assert len(set(keys)) == 14


async def test_an_instance_that_was_restarted_or_created_again_has_other_idempotency_keys(running):
    """S §1.2"""
    keys = []
    machine = await running(shop := one_step(keep_key_in(keys)))
    instance = await machine.create(shop)
    for _ in range(2):  # within one millisecond
        await instance.restart()
        await machine.settle()
    await instance.delete()
    await machine.advance(10)
    await machine.create(shop)
    assert len(keys) == len(set(keys)) == 4


async def test_a_rollback_handler_is_told_the_idempotency_key_of_its_step_and_has_another_one_itself(running):
    """S §1.2, I §1.3.4"""
    keys, own, told = [], [], []

    def undo(context):
        told.append(context.ctx.idempotency_key)
        own.append(current_step().idempotency_key)

    @flow
    async def shop(event, step):
        await step.do("charge", {"rollback": undo}, keep_key_in(keys))
        raise ValueError("no stock")

    machine = await running(shop)
    await machine.create(shop)
    await machine.advance("1 second")
    assert told == keys
    assert len(own) == 1
    assert own != keys
