"""Workflow and worker classes: their names, type arguments, checks, and `run_once`."""

from __future__ import annotations

import asyncio
from typing import Any, Generic, TypeVar

import msgspec
import pytest

from everstep import ConfigError, Env, WorkerEntrypoint, WorkflowEntrypoint, WorkflowEvent, WorkflowStep
from everstep.sdk.entrypoint import (
    ExecutionContext,
    check_entrypoint,
    declared_env,
    declared_output,
    declared_params,
    workflow_name,
)

ItemT = TypeVar("ItemT")
ShopT = TypeVar("ShopT", bound=Env)


class Order(msgspec.Struct):
    id: str


class ShopEnv(Env):
    KEY: str


class Both(WorkflowEntrypoint[ShopEnv, Order]):
    async def run(self, event: WorkflowEvent[Order], step: WorkflowStep) -> dict[str, int]:
        return {}


class OnlyEnv(WorkflowEntrypoint[ShopEnv]): ...


class Neither(WorkflowEntrypoint): ...


class Below(Both): ...


class FarBelow(Below): ...


class Mixin: ...


class Mixed(Mixin, Both): ...


class OpenParams(WorkflowEntrypoint[ShopEnv, ItemT], Generic[ItemT]): ...


class ClosedParams(OpenParams[Order]): ...


class BelowClosedParams(ClosedParams): ...


class OpenEnv(WorkflowEntrypoint[ShopT, Order], Generic[ShopT]): ...


class ClosedEnv(OpenEnv[ShopEnv]): ...


class Swapped(WorkflowEntrypoint[ShopT, ItemT], Generic[ItemT, ShopT]): ...


class ClosedSwapped(Swapped[Order, ShopEnv]): ...


class StillOpen(OpenParams): ...


class Worker(WorkerEntrypoint[ShopEnv]): ...


class BelowWorker(Worker): ...


class UndeclaredWorker(WorkerEntrypoint): ...


@pytest.mark.parametrize(
    ("cls", "env", "params"),
    [
        (Both, ShopEnv, Order),
        (OnlyEnv, ShopEnv, Any),
        (Neither, Env, Any),
        (Below, ShopEnv, Order),
        (FarBelow, ShopEnv, Order),
        (Mixed, ShopEnv, Order),
        (OpenParams, ShopEnv, Any),
        (ClosedParams, ShopEnv, Order),
        (BelowClosedParams, ShopEnv, Order),
        (OpenEnv, Env, Order),
        (ClosedEnv, ShopEnv, Order),
        (ClosedSwapped, ShopEnv, Order),
        (StillOpen, ShopEnv, Any),
    ],
)
def test_type_arguments_are_found_through_inheritance(cls: Any, env: type, params: Any) -> None:
    assert (declared_env(cls), declared_params(cls)) == (env, params)


@pytest.mark.parametrize(("cls", "env"), [(Worker, ShopEnv), (BelowWorker, ShopEnv), (UndeclaredWorker, Env)])
def test_a_workers_environment_is_found_through_inheritance(cls: Any, env: type) -> None:
    assert declared_env(cls) is env


def test_params_may_be_a_generic_type() -> None:
    class Many(WorkflowEntrypoint[Env, list[Order]]): ...

    assert declared_params(Many) == list[Order]


def test_the_output_is_what_run_is_annotated_with() -> None:
    assert declared_output(Both) == dict[str, int]


def test_the_output_of_a_run_without_annotation_may_be_anything() -> None:
    class Bare(WorkflowEntrypoint):
        async def run(self, event, step): ...

    assert declared_output(Bare) is Any


def test_the_output_of_a_run_whose_annotations_cannot_be_resolved_may_be_anything() -> None:
    class Unresolvable(WorkflowEntrypoint):
        async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> NotHere: ...  # type: ignore[name-defined] # noqa: F821

    assert declared_output(Unresolvable) is Any


def test_a_workflow_is_called_by_its_class_in_kebab_case() -> None:
    class OrderPipeline(WorkflowEntrypoint): ...

    assert workflow_name(OrderPipeline) == "order-pipeline"


def test_a_class_with_an_async_run_is_a_workflow() -> None:
    assert check_entrypoint(Both) is Both
    assert check_entrypoint(FarBelow) is FarBelow


@pytest.mark.parametrize(("wrong", "shown"), [(Order, "'Order'"), (Worker, "'Worker'"), ("Order", "'Order'"), (5, "5")])
def test_what_is_no_workflow_class_is_refused_with_the_cure(wrong: Any, shown: str) -> None:
    with pytest.raises(ConfigError, match=f"{shown} is not a workflow: subclass WorkflowEntrypoint"):
        check_entrypoint(wrong)


def test_a_workflow_without_run_is_refused_with_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"workflow Neither has no `async def run\(self, event, step\)`"):
        check_entrypoint(Neither)


def test_a_workflow_whose_run_is_not_async_is_refused() -> None:
    class Blocking(WorkflowEntrypoint):
        def run(self, event: Any, step: Any) -> Any: ...

    with pytest.raises(ConfigError, match="workflow Blocking: `run` must be `async def`"):
        check_entrypoint(Blocking)


async def test_the_run_and_fetch_that_were_not_written_say_so() -> None:
    context, env = ExecutionContext(), Env()
    with pytest.raises(NotImplementedError, match="Neither must define `async def run"):
        await Neither(context, env).run(None, None)  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="UndeclaredWorker must define `async def fetch"):
        await UndeclaredWorker(context, env).fetch(None)  # type: ignore[arg-type]


async def test_what_is_handed_to_wait_until_goes_on_by_itself() -> None:
    done = asyncio.Event()

    async def later() -> None:
        done.set()

    ExecutionContext().wait_until(later())
    await asyncio.wait_for(done.wait(), 5)


class Doubled(WorkflowEntrypoint[Env, int]):
    async def run(self, event: WorkflowEvent[int], step: WorkflowStep) -> int:
        return await step.do("double", lambda: event.payload * 2)


def test_run_once_returns_the_output() -> None:
    assert Doubled.run_once(21, database="sqlite:///:memory:") == 42


class Refused(WorkflowEntrypoint):
    async def run(self, event: WorkflowEvent[Any], step: WorkflowStep) -> None:
        raise ValueError("no stock")


def test_what_run_once_raises_is_the_instances_error_and_no_other_before_it() -> None:
    with pytest.raises(ValueError, match="no stock") as caught:
        Refused.run_once(database="sqlite:///:memory:")

    assert caught.value.__context__ is None


async def test_run_once_is_refused_in_a_running_loop_with_what_to_use() -> None:
    with pytest.raises(RuntimeError, match=r"Doubled.run_once\(\) blocks, .* use async with Everstep"):
        Doubled.run_once(21)
