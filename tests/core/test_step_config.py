"""How a step's configuration is read and checked."""

from __future__ import annotations

from datetime import timedelta
from types import MappingProxyType
from typing import Any

import pytest

from everstep.core.limits import WAIT_MS
from everstep.core.policy.step_config import Retries, StepConfig
from everstep.core.policy.step_policy import DEFAULT_POLICY, StepPolicy, resolve_policy


def refused(config: Any, error: type[Exception] = ValueError) -> str:
    with pytest.raises(error) as caught:
        resolve_policy(config, "charge")
    return str(caught.value)


@pytest.mark.parametrize("config", [None, {}, {"retries": {}}, StepConfig(), StepConfig(retries=Retries())])
def test_what_is_left_out_has_the_defaults(config: Any) -> None:
    assert resolve_policy(config, "charge") == DEFAULT_POLICY


def test_the_defaults_are_five_retries_ten_seconds_exponential_and_ten_minutes() -> None:
    assert StepPolicy(limit=5, delay_ms=10_000, backoff="exponential", timeout_ms=600_000) == DEFAULT_POLICY


FULL = StepPolicy(2, 1_000, "linear", 30_000, max_delay_ms=60_000, non_retryable=(KeyError,), sensitive=True)


@pytest.mark.parametrize(
    "config",
    [
        {
            "retries": {
                "limit": 2,
                "delay": "1 second",
                "backoff": "linear",
                "max_delay": "1 minute",
                "non_retryable": (KeyError,),
            },
            "timeout": timedelta(seconds=30),
            "sensitive": "output",
        },
        StepConfig(
            retries=Retries(
                limit=2, delay=timedelta(seconds=1), backoff="linear", max_delay="1 minute", non_retryable=(KeyError,)
            ),
            timeout="30 seconds",
            sensitive="output",
        ),
        StepConfig(
            retries={
                "limit": 2,
                "delay": "1 second",
                "backoff": "linear",
                "max_delay": "1 minute",
                "non_retryable": (KeyError,),
            },
            timeout="30 seconds",
            sensitive="output",
        ),
        MappingProxyType(
            {
                "retries": Retries(
                    limit=2, delay="1 second", backoff="linear", max_delay="60 seconds", non_retryable=(KeyError,)
                ),
                "timeout": "30 seconds",
                "sensitive": "output",
            }
        ),
    ],
    ids=["dict", "StepConfig", "StepConfig with a dict", "mapping with Retries"],
)
def test_every_way_to_write_a_configuration_means_the_same(config: Any) -> None:
    assert resolve_policy(config, "charge") == FULL


@pytest.mark.parametrize("classes", [KeyError, [KeyError], (KeyError,), {KeyError}])
def test_non_retryable_is_one_class_or_several(classes: Any) -> None:
    assert resolve_policy({"retries": {"non_retryable": classes}}, "charge").non_retryable == (KeyError,)


def test_no_delay_may_be_zero() -> None:
    assert resolve_policy({"retries": {"delay": 0, "limit": 0}}, "charge").delay_ms == 0


def test_an_unknown_key_is_refused_with_the_step_and_the_key_it_is_like() -> None:
    message = refused({"retires": {}})
    assert message == (
        "the config of step 'charge' has an unknown key 'retires', did you mean 'retries'?; "
        "known: retries, timeout, sensitive, rollback, rollback_config"
    )


def test_an_unknown_key_of_retries_is_refused_with_the_step_and_the_key_it_is_like() -> None:
    message = refused({"retries": {"limt": 5}})
    assert message.startswith("retries of step 'charge' has an unknown key 'limt', did you mean 'limit'?")


def test_a_key_that_is_like_no_other_is_refused_with_all_that_are_known() -> None:
    message = refused({"zzz": 1})
    assert "did you mean" not in message
    assert "known: retries, timeout, sensitive, rollback, rollback_config" in message


@pytest.mark.parametrize("config", [5, "30 seconds", ["retries"], Retries()])
def test_a_configuration_of_another_kind_is_refused_by_its_type(config: Any) -> None:
    message = refused(config, TypeError)
    assert message == f"the config of step 'charge' must be a dict or StepConfig, got {type(config).__name__}"


@pytest.mark.parametrize("retries", [5, None, StepConfig()])
def test_retries_of_another_kind_are_refused_by_their_type(retries: Any) -> None:
    message = refused({"retries": retries}, TypeError)
    assert message == f"retries of step 'charge' must be a dict or Retries, got {type(retries).__name__}"


@pytest.mark.parametrize("limit", ["5", 1.5, True, None])
def test_a_limit_that_is_no_whole_number_is_refused(limit: Any) -> None:
    message = refused({"retries": {"limit": limit}}, TypeError)
    assert message == f"retries.limit of step 'charge' must be a whole number, got {limit!r}"


@pytest.mark.parametrize("limit", [-1, 10_001])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    assert refused({"retries": {"limit": limit}}) == (
        f"retries.limit of step 'charge' must be between 0 and 10000, got {limit}"
    )


@pytest.mark.parametrize("backoff", ["exponental", "", None, 2])
def test_an_unknown_backoff_is_refused_with_those_there_are(backoff: Any) -> None:
    assert refused({"retries": {"backoff": backoff}}) == (
        f"retries.backoff of step 'charge' must be one of constant, linear, exponential, got {backoff!r}"
    )


DURATIONS = [
    ("timeout", {"timeout": "?"}),
    ("retries.delay", {"retries": {"delay": "?"}}),
    ("retries.max_delay", {"retries": {"max_delay": "?"}}),
]


def with_value(config: dict[str, Any], value: Any) -> dict[str, Any]:
    return {key: with_value(it, value) if isinstance(it, dict) else value for key, it in config.items()}


@pytest.mark.parametrize(("key", "config"), DURATIONS)
def test_a_duration_that_cannot_be_read_is_refused_with_the_step_and_the_key(key: str, config: dict[str, Any]) -> None:
    assert refused(with_value(config, "10 secs")).startswith(f"{key} of step 'charge' '10 secs' is not a duration")


@pytest.mark.parametrize(("key", "config"), DURATIONS)
def test_a_bare_number_is_refused_with_the_step_and_the_key(key: str, config: dict[str, Any]) -> None:
    assert refused(with_value(config, 30), TypeError).startswith(f"{key} of step 'charge' is the bare number 30")


@pytest.mark.parametrize(("key", "config"), DURATIONS)
def test_a_negative_duration_is_refused_with_the_step_and_the_key(key: str, config: dict[str, Any]) -> None:
    message = refused(with_value(config, timedelta(seconds=-1)))
    assert message.startswith(f"{key} of step 'charge' must not be negative")


@pytest.mark.parametrize(("key", "config"), DURATIONS)
def test_a_duration_of_more_than_a_year_is_refused_with_the_step_and_the_key(key: str, config: dict[str, Any]) -> None:
    message = refused(with_value(config, "366 days"))
    assert message == f"{key} of step 'charge' must be at most 365 days, got '366 days'"


@pytest.mark.parametrize(("_key", "config"), DURATIONS)
def test_a_duration_of_a_year_is_taken(_key: str, config: dict[str, Any]) -> None:
    policy = resolve_policy(with_value(config, "365 days"), "charge")
    assert WAIT_MS in (policy.timeout_ms, policy.delay_ms, policy.max_delay_ms)


def test_a_timeout_of_nothing_is_refused() -> None:
    assert refused({"timeout": 0}) == "timeout of step 'charge' must be longer than 0"


def test_sensitive_can_only_be_output() -> None:
    assert refused({"sensitive": True}) == "sensitive of step 'charge' can only be 'output', got True"


@pytest.mark.parametrize("classes", ["ValueError", 5, ("ValueError",), [int], ValueError("x")])
def test_what_is_no_exception_class_is_refused_with_the_step_and_the_value(classes: Any) -> None:
    message = refused({"retries": {"non_retryable": classes}}, TypeError)
    wrong = classes[0] if isinstance(classes, (list, tuple)) else classes
    assert message == f"retries.non_retryable of step 'charge' takes exception classes, got {wrong!r}"


def test_a_misspelt_field_of_step_config_is_refused_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="timout"):
        StepConfig(timout="30 seconds")  # type: ignore[call-arg]


def test_the_policy_is_written_as_users_would_have_written_it_with_every_default() -> None:
    assert DEFAULT_POLICY.as_config() == {
        "retries": {"limit": 5, "delay": "10 seconds", "backoff": "exponential"},
        "timeout": "10 minutes",
    }


def test_a_policy_with_everything_is_written_whole() -> None:
    assert FULL.as_config() == {
        "retries": {
            "limit": 2,
            "delay": "1 second",
            "backoff": "linear",
            "max_delay": "1 minute",
            "non_retryable": ["KeyError"],
        },
        "timeout": "30 seconds",
        "sensitive": "output",
    }


@pytest.mark.parametrize(
    "ms", [0, 1, 999, 1_000, 1_500, 90_000, 3_600_000, 86_400_000, 123_456_789, WAIT_MS - 1, WAIT_MS]
)
def test_a_written_policy_reads_back_as_itself(ms: int) -> None:
    policy = StepPolicy(delay_ms=ms, max_delay_ms=ms, timeout_ms=ms or 1)
    assert resolve_policy(policy.as_config(), "charge") == policy
