"""Every setting of a project: one declaration of its type, default and meaning. Reads no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from everstep.config.values import rules
from everstep.core.durations import duration_ms, lease_ms
from everstep.core.names import check_workflow_name, kebab_case, upper_snake_case
from everstep.core.types import Durability

DEFAULT_DATABASE = "sqlite:///.everstep/state.db"


def _about(text: str, *, example: Any = None, check: Callable[[Any], object] | None = None) -> Meta:
    return Meta(
        description=text, examples=None if example is None else [example], extra={"check": check} if check else None
    )


class LimitsConfig(Struct, frozen=True, kw_only=True):
    """How much one workflow may do."""

    steps: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _about("Steps that one instance may start. Sleeps are not counted; 10,000 when left out.", example=25_000),
    ] = None
    concurrency: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        _about(
            "Instances that run at the same time in one process; further ones queue. Unlimited when left out.",
            example=50,
        ),
    ] = None


class RetentionConfig(Struct, frozen=True, kw_only=True):
    """How long ended instances are kept."""

    success_retention: Annotated[
        str | None,
        _about(
            "How long a complete or terminated instance is kept; 30 days when left out.",
            example="7 days",
            check=rules.retention,
        ),
    ] = None
    error_retention: Annotated[
        str | None,
        _about(
            "How long an errored instance is kept; 30 days when left out.",
            example="90 days",
            check=rules.retention,
        ),
    ] = None

    @property
    def success_ms(self) -> int | None:
        """`success_retention` in milliseconds."""
        return None if self.success_retention is None else duration_ms(self.success_retention)

    @property
    def error_ms(self) -> int | None:
        """`error_retention` in milliseconds."""
        return None if self.error_retention is None else duration_ms(self.error_retention)


class WorkflowConfig(Struct, frozen=True, kw_only=True):
    """One workflow: its class, and what it is called. `name` and `binding` follow from the class when left out.

    Example:
        >>> WorkflowConfig(class_name="OrderPipeline").binding
        'ORDER_PIPELINE'
    """

    class_name: Annotated[
        str, _about("The workflow's class in `main`.", example="OrderPipeline", check=rules.identifier)
    ]
    name: Annotated[
        str,
        _about(
            "The workflow's name, unique in the project; `class_name` in kebab case when left out.",
            example="order-pipeline",
            check=check_workflow_name,
        ),
    ] = ""
    binding: Annotated[
        str,
        _about(
            "What the workflow is called in `env`; `class_name` in upper snake case when left out.",
            example="ORDER_PIPELINE",
            check=rules.identifier,
        ),
    ] = ""
    script_name: Annotated[
        str | None,
        _about("The app that has the class, when it is not this one.", example="billing", check=rules.app_name),
    ] = None
    limits: Annotated[LimitsConfig, _about("How much this workflow may do.")] = LimitsConfig()
    schedules: Annotated[
        str | list[str],
        _about(
            "When to create instances: a cron expression of five fields in UTC, or a list of them. "
            "Checked, and not run by this release.",
            example="0 9 * * 1",
            check=rules.some_crons,
        ),
    ] = field(default_factory=list)
    durability: Annotated[
        Durability | None,
        _about(
            'Whether what an instance records outlives a loss of power ("full") or only the end of the process '
            '("relaxed"); what the class says when left out.',
            example="relaxed",
        ),
    ] = None
    default_retention: Annotated[
        RetentionConfig, _about("How long ended instances are kept, unless `create` says otherwise.")
    ] = RetentionConfig()

    def __post_init__(self) -> None:
        if not self.name:
            msgspec.structs.force_setattr(self, "name", kebab_case(self.class_name))
        if not self.binding:
            msgspec.structs.force_setattr(self, "binding", upper_snake_case(self.class_name))

    @property
    def crons(self) -> tuple[str, ...]:
        """`schedules` as a tuple, whichever way it was written."""
        return (self.schedules,) if isinstance(self.schedules, str) else tuple(self.schedules)


class EngineConfig(Struct, frozen=True, kw_only=True):
    """How much one process does at the same time. What each does is in `engine/runtime/options.py`."""

    max_running: Annotated[
        Annotated[int, Meta(ge=1)],
        _about("Instances at work; further ones stay due in the database.", example=2_000),
    ] = 10_000
    max_cached: Annotated[
        Annotated[int, Meta(ge=0)],
        _about("Instances that wait and are kept in memory; further ones are put away.", example=5_000),
    ] = 1_000
    max_creating: Annotated[
        Annotated[int, Meta(ge=1)],
        _about("Creations under way; whoever asks for more waits for a turn.", example=500),
    ] = 1_000
    max_threads: Annotated[
        Annotated[int, Meta(ge=1)],
        _about("Steps in threads; further ones wait for a turn.", example=16),
    ] = 64
    max_lost_threads: Annotated[
        Annotated[int, Meta(ge=0)],
        _about("Threads that hang in steps which timed out, and are replaced; further ones take turns.", example=32),
    ] = 256


class TriggersConfig(Struct, frozen=True, kw_only=True):
    """What calls the app by itself."""

    crons: Annotated[
        list[str],
        _about(
            "When to call the app's `scheduled`: cron expressions of five fields in UTC. "
            "Checked, and not run by this release.",
            example=["*/15 * * * *"],
            check=rules.crons,
        ),
    ] = field(default_factory=list)


_Rate: TypeAlias = Annotated[float, Meta(ge=0, le=1)] | None


class TracesConfig(Struct, frozen=True, kw_only=True):
    """What wrangler says of traces."""

    enabled: Annotated[bool | None, _about("Whether there are any.")] = None
    head_sampling_rate: Annotated[_Rate, _about("Which part of them is taken.", example=0.1)] = None
    persist: Annotated[bool | None, _about("Whether they are kept.")] = None
    destinations: Annotated[list[str], _about("Where else they go.", example=["grafana"])] = field(default_factory=list)


class LogsConfig(TracesConfig, frozen=True, kw_only=True):
    """What wrangler says of logs."""

    invocation_logs: Annotated[bool | None, _about("Whether each call is logged.")] = None


class ObservabilityConfig(Struct, frozen=True, kw_only=True):
    """What wrangler says of logs and traces. Changes nothing here."""

    enabled: Annotated[bool | None, _about("Whether there are logs and traces.", example=True)] = None
    head_sampling_rate: Annotated[_Rate, _about("Which part of them is taken.", example=0.1)] = None
    logs: Annotated[LogsConfig, _about("The same for logs alone.")] = LogsConfig()
    traces: Annotated[TracesConfig, _about("The same for traces alone.")] = TracesConfig()


class Config(Struct, frozen=True, kw_only=True):
    """The settings of a project, after every source has had its say."""

    name: Annotated[
        str | None,
        _about(
            "The app's name; the name of the project's directory when left out.", example="shop", check=rules.app_name
        ),
    ] = None
    main: Annotated[
        str | None,
        _about(
            "The program: a Python file, relative to the project's directory, or a module.",
            example="src/index.py",
            check=rules.not_empty,
        ),
    ] = None
    workflows: Annotated[list[WorkflowConfig], _about("The app's workflows.")] = field(default_factory=list)
    vars: Annotated[
        dict[str, Any],
        _about("Values that the app finds in `env`. Secrets do not belong here.", example={"REGION": "gru"}),
    ] = field(default_factory=dict)
    triggers: Annotated[TriggersConfig, _about("What calls the app by itself.")] = TriggersConfig()
    observability: Annotated[
        ObservabilityConfig, _about("Accepted because wrangler has it; changes nothing.", example={"enabled": True})
    ] = ObservabilityConfig()
    database: Annotated[
        str,
        _about(
            "Where instances are kept: `sqlite:///…` (relative to the project's directory), `sqlite:////…` (absolute) "
            "or `postgresql://…`.",
            example="sqlite:///state.db",
            check=rules.database_url,
        ),
    ] = DEFAULT_DATABASE
    database_direct: Annotated[
        str | None,
        _about(
            "Another URL of the same PostgreSQL database, past a pooler in transaction mode, for notifications.",
            example="postgresql://app@db.internal:5432/app",
            check=rules.postgres_url,
        ),
    ] = None
    lease: Annotated[
        str,
        _about(
            "How long the instances of a process that fell silent stay its own, before another one takes them over: "
            "from 2 seconds to 1 day.",
            example="15 seconds",
            check=rules.lease,
        ),
    ] = "15 seconds"
    engine: Annotated[EngineConfig, _about("How much one process does at the same time.")] = EngineConfig()
    compatibility_date: Annotated[
        str | None, _about("Accepted because wrangler has it; changes nothing.", example="2026-05-01")
    ] = None
    compatibility_flags: Annotated[
        list[str], _about("Accepted because wrangler has it; changes nothing.", example=["python_workers"])
    ] = field(default_factory=list)

    @property
    def lease_ms(self) -> int:
        """`lease` in milliseconds."""
        return lease_ms(self.lease)


class FileConfig(Config, frozen=True, kw_only=True):
    """What a file may hold: the settings, and other values for them by environment."""

    env: Annotated[
        dict[str, Config],
        _about(
            "Other values for one environment, chosen with `--env` or `EVERSTEP_ENV`. A setting given here replaces "
            "the one above as a whole; `workflows` and `vars` are never taken over from above."
        ),
    ] = field(default_factory=dict)


class Project(Struct, frozen=True, kw_only=True):
    """A directory and its settings.

    Attributes:
        root: The directory that has the configuration; where the search began when there is none.
        file: The file it was read from, or None.
        config: The settings. `database` is absolute.
        env_name: The environment that was chosen, or None.
        sources: Where each value came from, by dotted key; a key that is not there has its default.
        warnings: What people should hear, one sentence each.
    """

    root: Path
    file: Path | None
    config: Config
    env_name: str | None
    sources: dict[str, str]
    warnings: list[str]

    @property
    def name(self) -> str:
        """The app's name: the one set, or that of the directory."""
        return self.config.name or self.root.name


def json_schema() -> dict[str, Any]:
    """Describe `everstep.toml` as a JSON Schema, for editors."""
    schema = msgspec.json.schema(FileConfig)
    for component in schema["$defs"].values():
        component["additionalProperties"] = False
    workflow = schema["$defs"]["WorkflowConfig"]["properties"]
    for derived in ("name", "binding"):
        del workflow[derived]["default"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "everstep.toml", **schema}
