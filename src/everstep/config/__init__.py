"""Where settings come from: files, environment and local secrets, as one frozen schema. Imports none of its users."""

from __future__ import annotations

from everstep.config.load import load_project
from everstep.config.render import describe
from everstep.config.schema import Config, Project, WorkflowConfig, json_schema
from everstep.config.secrets_file import Secrets, load_secrets

__all__ = [
    "Config",
    "Project",
    "Secrets",
    "WorkflowConfig",
    "describe",
    "json_schema",
    "load_project",
    "load_secrets",
]
