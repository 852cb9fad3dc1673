"""The environment of an app: declared members, conversions, and the stand-in that `everstep.env` is."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import pytest

from everstep import ConfigError, Env, Workflow, env
from everstep.sdk.env import build_env, missing_members, set_default_env, use_env

if TYPE_CHECKING:
    from somewhere import OnlyForCheckers  # type: ignore[import-not-found]

SECRET = "sk_live_4242"


class ShopEnv(Env):
    PAYMENT_API_KEY: str
    MAX_ITEMS: int
    REGION: str = "eu"


class LargerEnv(ShopEnv):
    WAREHOUSE: str


class TypedEnv(Env):
    COUNT: int = 0
    RATIO: float = 0.0
    DEBUG: bool = False
    LIMIT: int | None = None
    PIPELINE: Workflow[str] | None = None
    ANYTHING: Any = None


class UnresolvableEnv(Env):
    PIPELINE: Workflow[OnlyForCheckers]
    REGION: str


def refused(cls: type[Env], **values: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_env(cls, values)
    return str(caught.value)


def test_members_have_the_given_values() -> None:
    made = build_env(ShopEnv, {"PAYMENT_API_KEY": SECRET, "MAX_ITEMS": 3})
    assert (type(made), made.PAYMENT_API_KEY, made.MAX_ITEMS) == (ShopEnv, SECRET, 3)


def test_a_member_without_a_value_has_its_default() -> None:
    assert build_env(ShopEnv, {"PAYMENT_API_KEY": SECRET, "MAX_ITEMS": 3}).REGION == "eu"


def test_a_default_gives_way_to_a_value() -> None:
    assert build_env(ShopEnv, {"PAYMENT_API_KEY": SECRET, "MAX_ITEMS": 3, "REGION": "us"}).REGION == "us"


def test_members_that_are_not_declared_are_there_too() -> None:
    made: Any = build_env(ShopEnv, {"PAYMENT_API_KEY": SECRET, "MAX_ITEMS": 3, "EXTRA": 1})
    assert made.EXTRA == 1


def test_every_missing_member_is_named_in_one_error() -> None:
    assert refused(ShopEnv) == "ShopEnv.PAYMENT_API_KEY is not set\nShopEnv.MAX_ITEMS is not set"


def test_inherited_members_are_required_too() -> None:
    assert "LargerEnv.PAYMENT_API_KEY is not set" in refused(LargerEnv, MAX_ITEMS=1, WAREHOUSE="a")


def test_missing_members_can_be_asked_for_without_making_one() -> None:
    assert missing_members(LargerEnv, {"MAX_ITEMS": 3}) == ["PAYMENT_API_KEY", "WAREHOUSE"]


def test_members_whose_types_only_a_checker_can_resolve_are_required_all_the_same() -> None:
    assert refused(UnresolvableEnv) == "UnresolvableEnv.PIPELINE is not set\nUnresolvableEnv.REGION is not set"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("COUNT", "12", 12),
        ("RATIO", "0.5", 0.5),
        ("DEBUG", "true", True),
        ("DEBUG", "0", False),
        ("LIMIT", "12", 12),
        ("ANYTHING", "12", "12"),
    ],
)
def test_text_becomes_the_declared_plain_type(name: str, text: str, value: Any) -> None:
    made = vars(build_env(TypedEnv, {name: text}))[name]
    assert (made, type(made)) == (value, type(value))


def test_other_types_than_plain_ones_are_left_alone() -> None:
    binding: Any = object()
    assert build_env(TypedEnv, {"PIPELINE": binding}).PIPELINE is binding


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("COUNT", SECRET, "int"),
        ("COUNT", 1.5, "int"),
        ("DEBUG", SECRET, "bool"),
        ("LIMIT", SECRET, "int | None"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name_and_never_shown(name: str, value: Any, kind: str) -> None:
    assert refused(TypedEnv, **{name: value}) == f"TypedEnv.{name} must be {kind}, and its value is not"


def test_a_value_for_text_that_is_no_text_is_refused() -> None:
    assert refused(ShopEnv, PAYMENT_API_KEY=42, MAX_ITEMS=3) == (
        "ShopEnv.PAYMENT_API_KEY must be str, and its value is not"
    )


def test_missing_and_unfitting_members_are_named_together() -> None:
    assert refused(ShopEnv, MAX_ITEMS="many").splitlines() == [
        "ShopEnv.PAYMENT_API_KEY is not set",
        "ShopEnv.MAX_ITEMS must be int, and its value is not",
    ]


def test_repr_shows_names_and_never_values() -> None:
    made = build_env(ShopEnv, {"PAYMENT_API_KEY": SECRET, "MAX_ITEMS": 3})
    assert repr(made) == "<ShopEnv: MAX_ITEMS, PAYMENT_API_KEY, REGION>"


def test_a_member_that_is_not_there_is_an_error_with_those_that_are() -> None:
    made: Any = build_env(ShopEnv, {"PAYMENT_API_KEY": SECRET, "MAX_ITEMS": 3})
    with pytest.raises(AttributeError) as caught:
        _ = made.PAYMENT_API_KYE
    message = str(caught.value)
    assert "no member 'PAYMENT_API_KYE', did you mean 'PAYMENT_API_KEY'?" in message
    assert "it has: MAX_ITEMS, PAYMENT_API_KEY, REGION" in message
    assert SECRET not in message


def test_members_can_be_taken_by_names_that_are_no_identifiers() -> None:
    assert build_env(Env, {"my-key": 1})["my-key"] == 1


def test_a_name_that_is_not_there_is_a_key_error_with_those_that_are() -> None:
    with pytest.raises(KeyError, match="env has no member 'KEY'; it has: my-key"):
        build_env(Env, {"my-key": 1})["KEY"]


def test_an_environment_can_be_copied() -> None:
    made = build_env(ShopEnv, {"PAYMENT_API_KEY": SECRET, "MAX_ITEMS": 3})
    assert vars(copy.copy(made)) == vars(made)


def test_outside_an_app_the_stand_in_says_where_it_works() -> None:
    with pytest.raises(RuntimeError, match=r"no engine runs in this process.*not while modules are imported"):
        _ = env.PAYMENT_API_KEY
    with pytest.raises(RuntimeError, match="no engine runs in this process"):
        env["PAYMENT_API_KEY"]
    assert repr(env) == "<env: no app is running>"


def test_outside_an_app_the_stand_in_is_no_trouble_to_tools_that_look_at_it() -> None:
    assert not hasattr(env, "__wrapped__")


def test_inside_an_app_the_stand_in_has_its_members() -> None:
    with use_env(build_env(Env, {"KEY": SECRET})):
        assert (env.KEY, env["KEY"], repr(env)) == (SECRET, SECRET, "<Env: KEY>")


def test_the_stand_in_of_a_context_ends_with_it() -> None:
    with use_env(build_env(Env, {"KEY": 1})), use_env(build_env(Env, {"KEY": 2})):
        pass
    with pytest.raises(RuntimeError):
        _ = env.KEY


def test_the_nearest_context_wins_over_the_one_around_it_and_the_default() -> None:
    before = set_default_env(build_env(Env, {"KEY": "default"}))
    try:
        assert env.KEY == "default"
        with use_env(build_env(Env, {"KEY": "outer"})), use_env(build_env(Env, {"KEY": "inner"})):
            assert env.KEY == "inner"
        assert env.KEY == "default"
    finally:
        assert vars(set_default_env(before))["KEY"] == "default"  # type: ignore[arg-type]


async def test_apps_that_run_at_once_each_see_their_own() -> None:
    async def look(value: int) -> int:
        with use_env(build_env(Env, {"KEY": value})):
            await asyncio.sleep(0)
            return env.KEY  # type: ignore[no-any-return]

    assert await asyncio.gather(look(1), look(2)) == [1, 2]
