"""Durable execution for Python: ordinary async code whose steps survive crashes, retries and restarts.

Names are loaded when they are first used, so that importing the package stays cheap and brings no HTTP stack.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everstep.core.errors import (
        AttemptInterruptedError,
        ConfigError,
        DatabaseInUseError,
        DuplicateInBatchError,
        EngineStoppedError,
        EverstepError,
        InstanceExistsError,
        InstanceLostError,
        InstanceNotFoundError,
        InstanceStateError,
        InstanceTerminatedError,
        InvalidNameError,
        InvalidOptionError,
        InvalidParamsError,
        LeaseLostError,
        NonDeterminismError,
        NonRetryableError,
        NotSerializableError,
        RetryDelayError,
        RollbackInProgressError,
        RollbackMissingError,
        SchemaVersionError,
        StepError,
        StepLimitError,
        StorageLimitError,
        StoreConflictError,
        StoredValueError,
        StoreError,
        StoreUnavailableError,
        ValueTooLargeError,
        WorkflowCodeError,
        WorkflowNotFoundError,
        WorkflowTimeoutError,
    )
    from everstep.core.policy.step_config import Retries, RetriesDict, StepConfig, StepConfigDict
    from everstep.core.types import (
        AttemptInfo,
        BatchError,
        ErrorInfo,
        InstanceLink,
        InstanceStatus,
        RetryContext,
        RollbackContext,
        RollbackStatus,
        Schedule,
        StepContext,
        StepEvent,
        StepInfo,
        StepPage,
        SubscriptionEvent,
        WaitingFor,
        WorkflowEvent,
    )
    from everstep.embedded import Everstep, lifespan
    from everstep.sdk.entrypoint import WorkerEntrypoint, WorkflowEntrypoint
    from everstep.sdk.env import Env, env
    from everstep.sdk.response import Request, Response
    from everstep.sdk.step import WorkflowStep
    from everstep.sdk.step_scope import current_step
    from everstep.sdk.workflow_binding import (
        CreateBatchResult,
        DeleteBatchResult,
        InstancePage,
        Workflow,
        WorkflowInstance,
    )
    from everstep.sync import SyncEverstep, SyncInstance, SyncWorkflow

logging.getLogger("everstep").addHandler(logging.NullHandler())  # where records go is the application's to say

__all__ = [
    "AttemptInfo",
    "AttemptInterruptedError",
    "BatchError",
    "ConfigError",
    "CreateBatchResult",
    "DatabaseInUseError",
    "DeleteBatchResult",
    "DuplicateInBatchError",
    "EngineStoppedError",
    "Env",
    "ErrorInfo",
    "Everstep",
    "EverstepError",
    "InstanceExistsError",
    "InstanceLink",
    "InstanceLostError",
    "InstanceNotFoundError",
    "InstancePage",
    "InstanceStateError",
    "InstanceStatus",
    "InstanceTerminatedError",
    "InvalidNameError",
    "InvalidOptionError",
    "InvalidParamsError",
    "LeaseLostError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotSerializableError",
    "Request",
    "Response",
    "Retries",
    "RetriesDict",
    "RetryContext",
    "RetryDelayError",
    "RollbackContext",
    "RollbackInProgressError",
    "RollbackMissingError",
    "RollbackStatus",
    "Schedule",
    "SchemaVersionError",
    "StepConfig",
    "StepConfigDict",
    "StepContext",
    "StepError",
    "StepEvent",
    "StepInfo",
    "StepLimitError",
    "StepPage",
    "StorageLimitError",
    "StoreConflictError",
    "StoreError",
    "StoreUnavailableError",
    "StoredValueError",
    "SubscriptionEvent",
    "SyncEverstep",
    "SyncInstance",
    "SyncWorkflow",
    "ValueTooLargeError",
    "WaitingFor",
    "WorkerEntrypoint",
    "Workflow",
    "WorkflowCodeError",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "WorkflowInstance",
    "WorkflowNotFoundError",
    "WorkflowStep",
    "WorkflowTimeoutError",
    "current_step",
    "env",
    "lifespan",
]

_HOMES = {
    "everstep.sdk.workflow_binding": "CreateBatchResult DeleteBatchResult InstancePage Workflow WorkflowInstance",
    "everstep.sdk.step_scope": "current_step",
    "everstep.sdk.entrypoint": "WorkerEntrypoint WorkflowEntrypoint",
    "everstep.sdk.env": "Env env",
    "everstep.sdk.response": "Request Response",
    "everstep.sdk.step": "WorkflowStep",
    "everstep.core.errors": (
        "AttemptInterruptedError ConfigError DatabaseInUseError DuplicateInBatchError EngineStoppedError "
        "EverstepError InstanceExistsError InstanceLostError InstanceNotFoundError InstanceStateError "
        "InstanceTerminatedError InvalidNameError InvalidOptionError InvalidParamsError LeaseLostError "
        "NonDeterminismError NonRetryableError NotSerializableError RetryDelayError RollbackInProgressError "
        "RollbackMissingError SchemaVersionError StepError StepLimitError StorageLimitError "
        "StoreConflictError StoreError StoreUnavailableError StoredValueError ValueTooLargeError "
        "WorkflowCodeError WorkflowNotFoundError WorkflowTimeoutError"
    ),
    "everstep.core.policy.step_config": "Retries RetriesDict StepConfig StepConfigDict",
    "everstep.core.types": (
        "AttemptInfo BatchError ErrorInfo InstanceLink InstanceStatus RetryContext RollbackContext "
        "RollbackStatus Schedule StepContext StepEvent StepInfo StepPage SubscriptionEvent WaitingFor "
        "WorkflowEvent"
    ),
    "everstep.embedded": "Everstep lifespan",
    "everstep.sync": "SyncEverstep SyncInstance SyncWorkflow",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'everstep' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
