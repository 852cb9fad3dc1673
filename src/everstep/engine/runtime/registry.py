"""The workflows an engine runs: their classes, types and environment. Code only; no instance is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from everstep.core.errors import ConfigError, WorkflowNotFoundError
from everstep.core.limits import RETENTION_MS, STEPS
from everstep.core.names import check_workflow_name, upper_snake_case
from everstep.core.suggest import did_you_mean
from everstep.core.types import DURABILITIES, Durability
from everstep.sdk.entrypoint import (
    ExecutionContext,
    WorkflowEntrypoint,
    check_entrypoint,
    declared_env,
    declared_output,
    declared_params,
    workflow_name,
)
from everstep.sdk.env import Env, build_env


class WorkflowDefinition(Struct):
    """One workflow: what it is called, its class, and what was declared about it.

    `concurrency` is how many instances may be at work at once, None for any number; `success_retention_ms` and
    `error_retention_ms` are how long ended instances are kept. `durability` is how sure what an instance records is.
    """

    name: str
    cls: type[WorkflowEntrypoint[Any, Any]]
    binding: str
    params: Any
    output: Any
    env: Env = Env()
    step_limit: int = STEPS
    concurrency: int | None = None
    success_retention_ms: int | None = RETENTION_MS
    error_retention_ms: int | None = RETENTION_MS
    durability: Durability = "full"

    def instantiate(self) -> WorkflowEntrypoint[Any, Any]:
        """Make the object whose `run` is one life of one instance."""
        return self.cls(ExecutionContext(), self.env)


def define(
    cls: type[WorkflowEntrypoint[Any, Any]], name: str | None = None, binding: str | None = None
) -> WorkflowDefinition:
    """Describe a workflow class; names default to the class's own.

    Raises:
        ConfigError: if it is not a workflow, or its name is not allowed.
    """
    check_entrypoint(cls)
    try:
        checked = check_workflow_name(name or workflow_name(cls))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    binding = binding or upper_snake_case(cls.__name__)
    if cls.durability not in DURABILITIES:
        raise ConfigError(f"{cls.__name__}.durability is one of {DURABILITIES}, got {cls.durability!r}")
    return WorkflowDefinition(
        checked, cls, binding, declared_params(cls), declared_output(cls), durability=cls.durability
    )


class WorkflowRegistry:
    """Every workflow of an engine, by name, sharing one environment.

    Args:
        definitions: The workflows.
        version: What identifies this state of the code, where it is known.
    """

    def __init__(self, definitions: list[WorkflowDefinition], *, version: str | None = None) -> None:
        self._by_name: dict[str, WorkflowDefinition] = {}
        self.version = version
        for definition in definitions:
            if definition.name in self._by_name:
                raise ConfigError(
                    f"two workflows are called {definition.name!r}: {definition.cls.__name__} and another"
                )
            self._by_name[definition.name] = definition
        self.names = list(self._by_name)

    def bind_env(self, values: Mapping[str, Any]) -> None:
        """Give each workflow its environment, of the class it declares.

        Raises:
            ConfigError: naming everything that is missing, for all workflows at once.
        """
        problems: dict[str, None] = {}
        for definition in self._by_name.values():
            try:
                definition.env = build_env(declared_env(definition.cls), values)
            except ConfigError as error:
                problems |= dict.fromkeys(str(error).splitlines())
        if problems:
            raise ConfigError("\n".join(problems))

    def __getitem__(self, name: str) -> WorkflowDefinition:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self.names) or "none"
            raise WorkflowNotFoundError(
                f"no workflow {name!r} here{did_you_mean(name, self.names)}; known: {known}"
            ) from None

    def __iter__(self) -> Iterator[WorkflowDefinition]:
        return iter(self._by_name.values())

    def resolve(self, workflow: str | type[WorkflowEntrypoint[Any, Any]]) -> WorkflowDefinition:
        """Return the definition of a class or of a name.

        Raises:
            WorkflowNotFoundError: if it is not here; a class of the same name as one that is here is not that one.
        """
        if isinstance(workflow, str):
            return self[workflow]
        for definition in self:
            if definition.cls is workflow:
                return definition
        namesake = self[workflow_name(workflow)]
        raise WorkflowNotFoundError(
            f"{_whole_name(workflow)} is not run here: workflow {namesake.name!r} is another class, "
            f"{_whole_name(namesake.cls)}. Use that one, or its name"
        )


def _whole_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
