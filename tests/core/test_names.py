"""Which names are legal, and which names are made of others."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.core.errors import InvalidNameError
from everstep.core.names import (
    check_event_type,
    check_instance_id,
    check_step_name,
    check_tag,
    check_workflow_name,
    kebab_case,
    time_ordered_id,
    upper_snake_case,
)

ID_CHARACTERS = string.ascii_letters + string.digits + "_-"


@given(st.text(ID_CHARACTERS, min_size=1, max_size=100).filter(lambda text: not text.startswith("-")))
def test_an_instance_id_of_the_allowed_characters_is_returned(text: str) -> None:
    assert check_instance_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a b", "a.b", "é", "a/b", "a\n", "a" * 101])
def test_another_instance_id_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_instance_id(text)
    assert "1 to 100 characters of A-Z, a-z, 0-9, _ and -, not starting with -" in str(caught.value)


def test_a_refused_instance_id_is_shown() -> None:
    with pytest.raises(ValueError, match=r"instance id 'order 1' is not allowed"):
        check_instance_id("order 1")


def test_a_very_long_refused_name_is_shown_in_part_with_its_length() -> None:
    with pytest.raises(ValueError) as caught:
        check_instance_id("a" * 5_000)
    assert "(5000 characters)" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("check", "what"),
    [
        (check_instance_id, "an instance id"),
        (check_step_name, "a step's name"),
        (check_event_type, "an event's type"),
        (check_tag, "a tag"),
    ],
)
@pytest.mark.parametrize("value", [None, 5, b"name", ["name"]])
def test_a_name_that_is_no_string_is_refused_by_its_type(check: Callable[[Any], str], what: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{what} must be a string, got {type(value).__name__}"):
        check(value)


@pytest.mark.parametrize("name", ["order-pipeline", "a" * 64, "_x", "7"])
def test_a_legal_workflow_name_is_returned(name: str) -> None:
    assert check_workflow_name(name) == name


@pytest.mark.parametrize("name", ["", "-order", "order pipeline", "a" * 65])
def test_another_workflow_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValueError, match=r"workflow name .* is not allowed: use 1 to 64 characters of A-Z"):
        check_workflow_name(name)


@pytest.mark.parametrize("name", ["validate-order", "charge 4242 €", "支払い", "a" * 256, "a.b/c:d"])
def test_a_step_name_may_have_spaces_and_any_script(name: str) -> None:
    assert check_step_name(name) == name


@pytest.mark.parametrize("name", ["", "a" * 257, "tab\there", "line\nbreak", "\x00", "del\x7f"])
def test_an_empty_or_long_step_name_and_control_characters_are_refused(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"step name .* is not allowed: use 1 to 256 characters, no control characters"
    ):
        check_step_name(name)


def test_a_step_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"step name .* is not allowed"):
        check_step_name("half a \ud83d character")


def test_a_missing_step_name_is_refused_with_the_form_of_the_call() -> None:
    with pytest.raises(TypeError, match=r"call step.do\(name, fn, \*args\)"):
        check_step_name(print)


@pytest.mark.parametrize("tag", ["", "a" * 257, "line\nbreak", "\x00", "half a \ud83d"])
def test_a_tag_that_no_database_keeps_is_refused(tag: str) -> None:
    with pytest.raises(InvalidNameError, match=r"tag .* is not allowed: use 1 to 256 characters") as caught:
        check_tag(tag)
    assert caught.value.code == "instance.invalid_tag"
    assert check_tag("größte, 支払い") == "größte, 支払い"


@pytest.mark.parametrize("type", ["approval", "order.approval", "v2_order-approved", "a" * 100])
def test_a_legal_event_type_is_returned(type: str) -> None:
    assert check_event_type(type) == type


@pytest.mark.parametrize("type", ["", ".approval", "-approval", "order approval", "order/approval", "a" * 101])
def test_another_event_type_is_refused_with_the_rule(type: str) -> None:
    with pytest.raises(ValueError, match=r"event type .* is not allowed: use 1 to 100 characters of .* and \."):
        check_event_type(type)


@pytest.mark.parametrize(
    ("class_name", "kebab", "snake"),
    [
        ("OrderPipeline", "order-pipeline", "ORDER_PIPELINE"),
        ("Order", "order", "ORDER"),
        ("HTTPServer", "http-server", "HTTP_SERVER"),
        ("ParseXML", "parse-xml", "PARSE_XML"),
        ("Order2Pipeline", "order2-pipeline", "ORDER2_PIPELINE"),
        ("Order_Pipeline", "order-pipeline", "ORDER_PIPELINE"),
        ("order_pipeline", "order-pipeline", "ORDER_PIPELINE"),
    ],
)
def test_a_class_name_becomes_a_workflows_and_a_bindings_name(class_name: str, kebab: str, snake: str) -> None:
    assert (kebab_case(class_name), upper_snake_case(class_name)) == (kebab, snake)


@given(st.from_regex(r"[A-Z][A-Za-z0-9]{0,40}", fullmatch=True))
def test_a_class_names_names_are_legal_and_mean_the_same(class_name: str) -> None:
    kebab = check_workflow_name(kebab_case(class_name))
    assert kebab.replace("-", "_").upper() == upper_snake_case(class_name)


MOMENTS = st.integers(0, 2**48 - 1)
RANDOM = st.integers(0, 2**80 - 1)


@given(earlier=MOMENTS, later=MOMENTS, one=RANDOM, other=RANDOM)
def test_given_out_ids_sort_by_time(earlier: int, later: int, one: int, other: int) -> None:
    if earlier != later:
        assert (earlier < later) == (time_ordered_id(earlier, one) < time_ordered_id(later, other))


@given(now=MOMENTS, one=RANDOM, other=RANDOM)
def test_given_out_ids_of_one_millisecond_differ_by_chance_alone(now: int, one: int, other: int) -> None:
    assert (one == other) == (time_ordered_id(now, one) == time_ordered_id(now, other))


@given(now=st.integers(0, 2**60), random=st.integers(0, 2**100))
def test_a_given_out_id_is_26_characters_and_legal(now: int, random: int) -> None:
    assert len(check_instance_id(time_ordered_id(now, random))) == 26


def test_a_given_out_id_has_the_layout_of_a_ulid() -> None:
    assert time_ordered_id(1_469_918_176_385, 0) == "01aryz6s410000000000000000"
