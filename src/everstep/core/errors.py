"""Every error Everstep raises.

    EverstepError                          code
    ├── NonRetryableError                  step.non_retryable         raised by users: no further attempt
    ├── StepLimitError                     instance.step_limit        more steps than the workflow may have
    ├── StorageLimitError                  instance.storage_limit     more stored than an instance may
    ├── RetryDelayError                    step.invalid_delay         a delay function failed, or gave no duration
    ├── RollbackInProgressError            rollback.in_progress       a step asked for while rolling back
    ├── RollbackMissingError               rollback.missing           a handler that today's code does not register
    ├── StepError                          step.failed                a step's error whose class cannot be rebuilt
    ├── AttemptInterruptedError            attempt.interrupted        a crash ended an attempt, and it was the last
    ├── WorkflowTimeoutError               timeout                    also a TimeoutError
    ├── NotSerializableError               value.not_serializable     also a TypeError
    ├── ValueTooLargeError                 value.too_large            also a ValueError
    ├── StoredValueError                   value.not_restorable       stored data that today's code cannot rebuild
    ├── InvalidParamsError                 instance.invalid_params    also a ValueError
    ├── InvalidOptionError                 instance.invalid_option    also a TypeError and a ValueError
    ├── InvalidNameError                   <what>.invalid_…           also a ValueError; e.g. instance.invalid_id
    ├── InstanceExistsError                instance.already_exists
    ├── DuplicateInBatchError              instance.duplicate_in_batch
    ├── InstanceNotFoundError              instance.not_found
    ├── InstanceStateError                 instance.<what is refused> e.g. instance.cannot_terminate
    ├── InstanceTerminatedError            instance.terminated        raised by result() of a terminated instance
    ├── EngineStoppedError                 engine.stopped             result() of an instance whose engine stopped here
    ├── WorkflowNotFoundError              workflow.not_found
    ├── NonDeterminismError                instance.non_determinism
    ├── WorkflowCodeError                  instance.code              `run` does what a workflow's code cannot
    ├── ConfigError                        config.invalid             one message, no traceback
    └── StoreError                         store.failed
        ├── DatabaseInUseError             store.in_use
        ├── SchemaVersionError             store.schema_version
        ├── StoreUnavailableError          store.unavailable          it passes
        │   └── StoreConflictError         store.conflict             a transaction lost to another one
        ├── LeaseLostError                 store.lease_lost           another worker has this one's instances now
        └── InstanceLostError              store.instance_lost        another worker has this instance now

Control flow uses `Suspended`, a `BaseException`, so that code catching `Exception` never swallows it.
`TypeError` and `ValueError` of the standard library mark wrong kinds and wrong values of arguments.
"""

from __future__ import annotations

from typing import ClassVar


class EverstepError(Exception):
    """The root of the tree. `code` is stable across releases; the message says what happened and what to do."""

    code: ClassVar[str] = "everstep"


class NonRetryableError(EverstepError):
    """Raise it inside a step to end the step's retries at once.

    Example:
        >>> raise NonRetryableError("card 4242 was declined")
        Traceback (most recent call last):
        ...
        everstep.core.errors.NonRetryableError: card 4242 was declined
    """

    code = "step.non_retryable"


class StepLimitError(EverstepError):
    """The instance asked for more steps than its workflow may have (`limits.steps`)."""

    code = "instance.step_limit"


class StorageLimitError(EverstepError):
    """The instance stored more than an instance may."""

    code = "instance.storage_limit"


class RetryDelayError(EverstepError):
    """A step's delay function raised, took longer than five seconds, or returned something that is no duration."""

    code = "step.invalid_delay"


class RollbackInProgressError(EverstepError):
    """A step was asked for while the instance is being rolled back."""

    code = "rollback.in_progress"


class RollbackMissingError(EverstepError):
    """A step was to be rolled back whose handler today's code does not register."""

    code = "rollback.missing"


class StepError(EverstepError):
    """A step's final error whose own class cannot be rebuilt from the store.

    Attributes:
        name: The original class's name.
        message: The original message.
    """

    code = "step.failed"

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name
        self.message = message


class AttemptInterruptedError(EverstepError):
    """An attempt ended because its process did. A step fails with it if that attempt was the last one allowed."""

    code = "attempt.interrupted"


class WorkflowTimeoutError(EverstepError, TimeoutError):
    """An attempt, a wait for an event or a wait for a result took longer than allowed."""

    code = "timeout"


class NotSerializableError(EverstepError, TypeError):
    """A value that cannot be stored: the message names the place, the path inside the value and the cure."""

    code = "value.not_serializable"


class ValueTooLargeError(EverstepError, ValueError):
    """A value larger than the limit for stored values."""

    code = "value.too_large"


class StoredValueError(EverstepError):
    """A stored value that today's code cannot rebuild, e.g. because its class is gone."""

    code = "value.not_restorable"


class InvalidParamsError(EverstepError, ValueError):
    """Params or a payload that do not fit their declared type."""

    code = "instance.invalid_params"


class InvalidOptionError(EverstepError, TypeError, ValueError):
    """How an instance is to be created or restarted, in words that are not understood: retention, tags, a step."""

    code = "instance.invalid_option"


class InvalidNameError(EverstepError, ValueError):
    """An id, a name or an event's type that breaks its rule; `code` says which."""

    code = "name.invalid"

    def __init__(self, message: str, code: str = "name.invalid") -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # one class, one code per kind of name


class InstanceExistsError(EverstepError):
    """An instance of this workflow with this id exists; nothing was changed."""

    code = "instance.already_exists"


class DuplicateInBatchError(EverstepError):
    """An id that stands twice in one batch; the first one was created."""

    code = "instance.duplicate_in_batch"


class InstanceNotFoundError(EverstepError):
    """No instance of this workflow has this id."""

    code = "instance.not_found"


class InstanceStateError(EverstepError):
    """The instance's status does not allow what was asked; `code` says what was refused."""

    code = "instance.wrong_state"

    def __init__(self, message: str, code: str = "instance.wrong_state") -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # one class, one code per refused action


class InstanceTerminatedError(EverstepError):
    """The result of an instance that was terminated."""

    code = "instance.terminated"


class EngineStoppedError(EverstepError):
    """The engine in this process stopped while somebody waited for a result; the instance goes on with the next one."""

    code = "engine.stopped"


class WorkflowNotFoundError(EverstepError):
    """No workflow of this name is known here."""

    code = "workflow.not_found"


class NonDeterminismError(EverstepError):
    """The code took another path than the one recorded; nothing new was run."""

    code = "instance.non_determinism"


class WorkflowCodeError(EverstepError):
    """A workflow's code does what cannot work outside of a step; the message names the line and the cure."""

    code = "instance.code"


class ConfigError(EverstepError):
    """Something about the set-up is wrong; shown to people as one message without a traceback."""

    code = "config.invalid"


class StoreError(EverstepError):
    """The store could not do what was asked."""

    code = "store.failed"


class DatabaseInUseError(StoreError):
    """Another engine runs on this database, of another process or of this one."""

    code = "store.in_use"


class SchemaVersionError(StoreError):
    """The database was written by a newer release than this one."""

    code = "store.schema_version"


class StoreUnavailableError(StoreError):
    """The database cannot take a write or answer right now; the same statement may succeed later."""

    code = "store.unavailable"


class StoreConflictError(StoreUnavailableError):
    """A transaction lost to another one and changed nothing; tried again it may well succeed."""

    code = "store.conflict"


class LeaseLostError(StoreError):
    """The lease of this worker is over, and another one has its instances: nothing of theirs is written any more."""

    code = "store.lease_lost"


class InstanceLostError(StoreError):
    """The instance is not this worker's any more: somebody else moved it, and what was to be written is not."""

    code = "store.instance_lost"

    def __init__(self, pk: int) -> None:
        super().__init__(f"instance {pk} is not this worker's any more: somebody else moved it")
        self.pk = pk


class Suspended(BaseException):
    """Leaves the user's code while its instance is put away; nothing durable happens on the way out."""
