"""The declaration of the settings."""

from __future__ import annotations

import json

import pytest

from everstep.config import Config, WorkflowConfig, json_schema
from everstep.config.settings import settings
from everstep.core.redact import redact_url


def test_every_key_says_what_it_means() -> None:
    assert [setting.key for setting in settings() if not setting.help.endswith(".")] == []


def test_every_key_of_the_top_level_has_a_variable() -> None:
    variables = {setting.key: setting.variable for setting in settings() if "." not in setting.key}
    assert variables.pop("env") is None
    assert variables == {key: f"EVERSTEP_{key.upper()}" for key in Config.__struct_fields__}


def test_the_json_schema_refuses_unknown_keys_and_requires_the_class() -> None:
    schema = json_schema()
    workflow = schema["$defs"]["WorkflowConfig"]
    assert workflow["additionalProperties"] is False
    assert workflow["required"] == ["class_name"]
    assert "default" not in workflow["properties"]["name"]
    assert schema["$defs"]["LimitsConfig"]["properties"]["steps"]["description"].startswith("Steps that one instance")
    assert json.loads(json.dumps(schema)) == schema


def test_a_workflow_is_called_after_its_class_unless_told_otherwise() -> None:
    derived, told = WorkflowConfig(class_name="HTTPJob"), WorkflowConfig(class_name="A", name="b", binding="C")
    assert (derived.name, derived.binding) == ("http-job", "HTTP_JOB")
    assert (told.name, told.binding) == ("b", "C")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada:hunter2@db:5432/shop", "postgresql://ada:***@db:5432/shop"),
        ("postgresql://:hunter2@db", "postgresql://:***@db"),
        ("postgresql://ada@db:5432/shop", "postgresql://ada@db:5432/shop"),
        ("postgresql://ada:a@b@db/shop", "postgresql://ada:***@db/shop"),
        ("postgresql://db/shop?user=a&password=hunter2&x=1", "postgresql://db/shop?user=a&password=***&x=1"),
        ("https://example.com:8080/a:b@c", "https://example.com:8080/a:b@c"),
    ],
)
def test_passwords_in_urls_are_hidden(text: str, shown: str) -> None:
    assert redact_url(text) == shown
