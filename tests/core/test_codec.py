"""Values come back as themselves, messages lead to the place, and plain forms never fail."""

# ruff: noqa: DTZ001, DTZ901  # naive datetimes are among the values that must come back

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, IntFlag, StrEnum
from fractions import Fraction
from functools import cached_property
from math import isnan
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import orjson
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType

from everstep.core.errors import InvalidParamsError, NotSerializableError, StoredValueError, ValueTooLargeError
from everstep.core.serialization.codec import coerce, coerce_result, decode, encode, plain, plain_json
from everstep.core.serialization.tagged import Decoder, Encoder

T = TypeVar("T")
WHERE = "the result of step 'charge'"


class Color(Enum):
    RED = "red"
    CRIMSON = "red"  # noqa: PIE796  # an alias, on purpose
    BLUE = ("b", 2)


class Level(IntEnum):
    LOW = 1


class Mode(StrEnum):
    FAST = "fast"


OLD_FLAGS = pytest.mark.skipif(
    sys.version_info < (3, 11, 4), reason="flags of this Python drop unknown bits themselves"
)


class Access(Flag):
    READ = 1
    WRITE = 2


class Bits(IntFlag):
    A = 1
    B = 2


class Outer:
    class Inner(Enum):
        X = 1


@dataclass
class Item:
    sku: str
    price: Any = None


@dataclass(frozen=True, slots=True)
class Frozen:
    key: Any
    tags: frozenset[str] = frozenset()


@dataclass
class Derived:
    a: int
    doubled: int = field(init=False)
    runs: int = field(default=0, compare=False)

    def __post_init__(self):
        self.doubled = self.a * 2
        self.runs += 1
        self.index = {self.a: self}.keys() and {self.a: "self"}

    @cached_property
    def heavy(self):
        return object()


@dataclass
class Boxed(Generic[T]):
    value: T


class Order(Struct, rename="camel"):
    order_id: str
    unit_price: Decimal = Decimal(0)
    items: list[Any] = []
    note: str | UnsetType = UNSET


class Cat(Struct, tag=True, frozen=True):
    name: str


class Pair(Struct, Generic[T], array_like=True, tag="pair"):
    left: T
    right: T


class Grown(Struct):
    n: int

    def __post_init__(self):
        self.n += 1


class Open(Struct, dict=True):
    a: int


class Address(pydantic.BaseModel):
    city: str
    since: datetime | None = None


class Customer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    full_name: str = pydantic.Field(default="?", alias="fullName")
    home: Address | None = None
    limit: Decimal = Decimal(0)
    _seen: int = pydantic.PrivateAttr(default=0)


class Envelope(pydantic.BaseModel, Generic[T]):
    content: T


class Tags(pydantic.RootModel[list[str]]):
    pass


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    on: date


@pydantic.dataclasses.dataclass
class Checked:
    n: int


class Point(NamedTuple):
    x: Any
    y: int = 0


class Profile(TypedDict):
    name: str
    age: NotRequired[int]


PARIS = ZoneInfo("Europe/Paris")


def _label(value: object) -> str:
    """Name a case; the order of a set's members differs between processes, so sets are named by their size."""
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, (set, frozenset)) else repr(value)[:50]


VALUES = [
    None,
    True,
    0,
    1,
    -(2**63),
    2**64 - 1,
    2**64,
    -(2**200),
    1.0,
    -0.0,
    1e308,
    5e-324,
    float("inf"),
    float("-inf"),
    "",
    "$",
    "é\u2028\x00😀",
    "\ud800 lone",
    "\ud83d\ude00",
    [],
    {},
    [1, [2, {"a": None}]],
    {"$": 1},
    {"$": "datetime", "v": "2026-01-01"},
    {"a": {"$": {"$": []}}},
    {"$x": "$"},
    {1: "a", "1": "b", None: 0, 2.5: 1},
    {True: 1},
    {(1, 2): {3}},
    {"\udcff": 1},
    (),
    (1, (2,), [3]),
    set(),
    {1, "a", (2, 3)},
    frozenset({frozenset({1}), 2}),
    b"",
    b"\x00\xff",
    bytearray(b"ab"),
    datetime(2026, 1, 2, 3, 4, 5, 678901),
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=1), "home")),
    datetime(2026, 7, 2, tzinfo=PARIS),
    datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=1),
    datetime(2026, 10, 25, 2, 30, tzinfo=PARIS),
    datetime(2026, 10, 25, 2, 30, fold=1),
    datetime.min,
    datetime.max,
    date(2026, 1, 2),
    time(1, 2, 3),
    time(1, 2, tzinfo=PARIS, fold=1),
    time(1, 2, tzinfo=UTC),
    timedelta(days=-1, microseconds=1),
    timedelta.max,
    timedelta.min,
    Decimal("-0.00"),
    Decimal("1E+400"),
    Decimal("Infinity"),
    UUID("12345678-1234-5678-1234-567812345678"),
    UNSET,
    Color.RED,
    Color.CRIMSON,
    Color.BLUE,
    Level.LOW,
    Mode.FAST,
    Access.READ,
    Access.READ | Access.WRITE,
    Access(0),
    Bits.A | Bits.B | 64,
    Outer.Inner.X,
    {Mode.FAST: Level.LOW},
    Item("a", Decimal("1.5")),
    [Item("a", Item("b"))],
    Frozen((1, 2), frozenset({"x"})),
    {Frozen(1): Frozen(2)},
    Derived(3),
    Boxed[int](3),
    Order("o", Decimal("2.5"), [Cat("tom"), {"k": (1,)}]),
    Order("o", note="hi"),
    Cat("tom"),
    Pair[int](1, 2),
    Address(city="Lyon", since="2026-01-02T00:00:00Z"),
    Customer(fullName="Ann", home=Address(city="Lyon"), unknown={"$": {1}}),
    Customer(),
    Envelope[int](content=3),
    Envelope[Envelope[Address]](content=Envelope[Address](content=Address(city="x"))),
    Envelope(content=3),
    Tags(["a"]),
    Checked(3),
    Point(1),
    Point({Point(1, 2)}, 3),
]


def stored(value: object, declared: object = Any) -> str:
    return encode(value, where=WHERE, declared=declared)[0]


def replayed(value: object, declared: object = Any) -> Any:
    return decode(stored(value, declared), declared, where=WHERE)


def same(a: object, b: object) -> bool:
    """Equal, of equal type, all the way down; also where == is lenient."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k, j) and same(v, w) for (k, v), (j, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return a == b and sorted(map(repr, map(type, a))) == sorted(map(repr, map(type, b)))
    if isinstance(a, (float, Decimal)):
        return repr(a) == repr(b)
    if isinstance(a, (datetime, time)):
        return a == b and repr(a) == repr(b)
    return a == b


def refusal(value: object) -> str:
    with pytest.raises(NotSerializableError) as caught:
        encode(value, where=WHERE)
    message = str(caught.value)
    assert message.startswith(f"{WHERE} cannot be stored: ")
    return message.removeprefix(f"{WHERE} cannot be stored: ")


def local_class() -> type:
    @dataclass
    class Receipt:
        total: int

    return Receipt


def module_with(monkeypatch: pytest.MonkeyPatch, **members: Any) -> ModuleType:
    module = ModuleType("shop_of_today")
    for name, member in members.items():
        member.__module__, member.__qualname__ = module.__name__, name
        member.__name__ = name
        setattr(module, name, member)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


JSON_KEYS = st.text(max_size=4) | st.just("$")
EXACT = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**80)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()), max_size=6)
)
SCALARS = (
    EXACT
    | st.binary(max_size=6)
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from([*Color, *Level, *Mode, Access.READ | Access.WRITE])
)
HASHABLE = st.recursive(
    SCALARS,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3) | st.builds(Frozen, inner),
    max_leaves=4,
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(JSON_KEYS, inner, max_size=4)
            | st.dictionaries(HASHABLE, inner, max_size=3)
            | st.tuples(inner, inner)
            | st.sets(HASHABLE, max_size=3)
            | st.builds(Item, st.text(max_size=3), inner)
            | st.builds(Point, inner)
            | st.builds(Boxed, inner)
            | st.builds(lambda value: Order("o", items=[value]), inner)
            | st.builds(lambda value: Envelope[Any](content=value), inner)
        ),
        max_leaves=12,
    )


JSON_VALUES = st.recursive(
    EXACT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(JSON_KEYS, inner, max_size=4), max_leaves=15
)


class TestRoundTrip:
    @pytest.mark.parametrize("value", VALUES, ids=_label)
    def test_every_kind_comes_back_as_itself(self, value):
        assert same(replayed(value), value)

    @pytest.mark.parametrize("value", VALUES, ids=_label)
    def test_every_kind_comes_back_as_itself_inside_containers(self, value):
        whole = {"list": [value], "tuple": (value, {"deep": value})}
        assert same(replayed(whole), whole)

    @given(nested(SCALARS))
    def test_anything_nested_comes_back_as_itself(self, value):
        text, live = encode(value, where=WHERE)
        assert same(live, value)
        assert same(decode(text), value)

    @given(nested(SCALARS))
    def test_what_is_stored_is_json_that_any_parser_reads(self, value):
        json.loads(stored(value))

    @given(JSON_VALUES)
    def test_the_fast_way_and_the_slow_way_agree(self, value):
        slow = Decoder().decode(json.loads(json.dumps(Encoder().encode(value))))
        text, live = encode(value, where=WHERE)
        assert same(live, slow)
        assert same(decode(text), slow)

    def test_nan_comes_back_as_nan_wherever_it_is(self):
        assert isnan(replayed(float("nan")))
        assert isnan(replayed({"a": [float("nan")]})["a"][0])
        assert isnan(replayed(Decimal("sNaN12").copy_abs()).__class__("nan"))
        assert str(replayed(Decimal("sNaN12"))) == "sNaN12"

    @pytest.mark.parametrize("number", [True, 1, 1.0, 0, -0.0, False])
    def test_equal_numbers_keep_their_types(self, number):
        assert same(replayed([number]), [number])

    def test_a_value_within_reach_of_the_fast_way_is_stored_as_the_json_one_would_write(self):
        assert stored({"a": [1, 2.5, None, True, "é"]}) == '{"a":[1,2.5,null,true,"é"]}'

    def test_the_zone_of_a_datetime_comes_back_under_its_key(self):
        assert replayed(datetime(2026, 7, 2, tzinfo=PARIS)).tzinfo is PARIS
        assert replayed(datetime(2026, 7, 2, tzinfo=UTC)).tzinfo is UTC

    def test_the_fixed_offset_of_another_library_comes_back_as_a_standard_one(self):
        model = Address(city="x", since="2026-01-02T00:00:00+02:00")
        since = replayed(model).since
        assert since == model.since
        assert since.tzinfo == timezone(timedelta(hours=2))

    def test_the_order_of_a_dict_is_kept(self):
        assert list(replayed({"b": 1, "a": {2}, 3: 4})) == ["b", "a", 3]


class TestClasses:
    def test_init_and_post_init_are_not_run_again(self):
        value = replayed(Derived(3))
        assert (value.doubled, value.runs, value.index) == (6, 1, {3: "self"})

    def test_a_struct_s_post_init_does_not_change_what_was_stored(self):
        assert replayed(Grown(1)).n == 2

    def test_a_cached_property_is_computed_again_and_not_stored(self):
        value = Derived(3)
        assert value.heavy
        assert "heavy" not in replayed(value).__dict__

    def test_attributes_beside_the_fields_come_back(self):
        value = Open(1)
        value.beside = (2,)
        assert replayed(value).beside == (2,)

    def test_a_field_that_was_never_set_stays_unset(self):
        value = replayed(_without_doubled())
        assert not hasattr(value, "doubled")

    def test_a_pydantic_model_keeps_which_fields_were_set_its_extra_and_its_private_attributes(self):
        model = Customer(fullName="Ann", colour={1})
        model._seen = 3
        back = replayed(model)
        assert back.model_fields_set == {"full_name", "colour"}
        assert back.model_extra == {"colour": {1}}
        assert back._seen == 3

    def test_a_model_is_not_validated_again(self):
        assert replayed(Address.model_construct(city=3)).city == 3

    def test_unset_is_kept(self):
        assert replayed(Order("o")).note is UNSET

    def test_a_local_class_is_refused_unless_it_is_declared(self):
        receipt = local_class()
        assert refusal([receipt(3)]) == (
            f"[0] is of class {__name__}.local_class.<locals>.Receipt, which is local to a function, so that a replay "
            "cannot find it; move class Receipt to module level"
        )
        assert replayed([receipt(3)], list[receipt] | None) == [receipt(3)]

    def test_a_local_class_inside_a_declared_one_is_found(self):
        receipt = local_class()

        class Outcome(Struct):
            receipt: Any

        Outcome.__annotations__["receipt"] = receipt
        assert replayed(Outcome(receipt(3)), Outcome) == Outcome(receipt(3))

    def test_a_class_under_another_name_than_its_own_is_refused(self):
        hidden = msgspec.defstruct("NotHere", [("a", int)], module=__name__)
        assert "cannot be found again under that name; define class NotHere at the top level" in refusal(hidden(1))

    def test_a_class_that_is_gone_is_a_clear_error(self, monkeypatch):
        text = stored({"a": module_with(monkeypatch, Old=dataclass(type("Old", (), {"__annotations__": {}}))).Old()})
        monkeypatch.delitem(sys.modules, "shop_of_today")
        with pytest.raises(StoredValueError, match=r"step 'x' cannot be restored: its class shop_of_today\.Old cannot"):
            decode(text, where="the result of step 'x'")

    def test_a_class_that_moved_is_found_through_the_declared_type(self):
        text = stored(Item("a", 1)).replace(f"{__name__}:Item", "old_place:Item")
        assert decode(text, list[Item] | Item) == Item("a", 1)

    def test_a_gained_field_takes_its_default_and_a_lost_one_is_left_out(self):
        text = stored(Item("a", 1)).replace('"price":1', '"lost":1')
        assert decode(text) == Item("a", None)
        text = stored(Order("o")).replace('"unit_price"', '"lost"')
        assert decode(text) == Order("o")
        text = stored(Point(1, 5)).replace('"y":5', '"lost":5')
        assert decode(text) == Point(1, 0)
        text = stored(Customer(fullName="x")).replace('"limit"', '"lost"')
        assert decode(text) == Customer(fullName="x")

    @pytest.mark.parametrize(
        ("value", "name"), [(Item("a"), "sku"), (Order("o"), "order_id"), (Point(1), "x"), (Address(city="x"), "city")]
    )
    def test_a_gained_field_without_a_default_is_a_clear_error(self, value, name):
        text = stored(value).replace(f'"{name}"', '"lost"')
        with pytest.raises(StoredValueError, match=f"has gained the field '{name}', which the stored value lacks"):
            decode(text)

    def test_a_dataclass_that_became_a_struct_is_read_as_one(self):
        text = stored(Item("a")).replace(f"{__name__}:Item", f"{__name__}:Cat").replace('"sku"', '"name"')
        assert decode(text) == Cat("a")

    def test_a_class_of_no_storable_kind_is_never_made(self):
        text = stored(Item("a")).replace(f"{__name__}:Item", "subprocess:Popen")
        with pytest.raises(StoredValueError, match=r"class subprocess\.Popen is no dataclass"):
            decode(text)

    def test_a_lost_enum_member_is_a_clear_error(self):
        with pytest.raises(StoredValueError, match="Color has no member 'GREEN' any more"):
            decode(stored(Color.RED).replace("RED", "GREEN"))

    def test_text_that_was_never_stored_is_a_clear_error(self):
        with pytest.raises(StoredValueError, match="it is no JSON"):
            decode("{")
        with pytest.raises(StoredValueError, match="unknown tag 'later'"):
            decode('{"$":"later"}')
        with pytest.raises(StoredValueError, match="cannot be restored by today's code"):
            decode('{"$":"date"}')


def _without_doubled() -> Derived:
    value = Derived(1)
    del value.doubled
    return value


class TestAliasing:
    @pytest.mark.parametrize("value", [{"a": []}, {"a": [], "b": (1,)}], ids=["fast", "slow"])
    def test_the_live_value_shares_nothing_with_the_original(self, value):
        _, live = encode(value, where=WHERE)
        value["a"].append(1)
        assert live["a"] == []

    @pytest.mark.parametrize("shared", [[1], [(1,)]], ids=["fast", "slow"])
    def test_one_list_in_two_places_becomes_two(self, shared):
        _, live = encode([shared, shared], where=WHERE)
        assert live == [shared, shared]
        assert live[0] is not live[1]


class TestSize:
    def test_a_value_over_the_limit_says_its_size_and_what_to_do(self):
        with pytest.raises(ValueTooLargeError) as caught:
            encode("x" * 1024 * 1024, where=WHERE)
        assert str(caught.value) == (
            "the result of step 'charge' would take 1,048,578 bytes as JSON, more than the limit of 1,048,576; "
            "store it elsewhere (a file, a bucket, a table) and return a reference to it"
        )

    @pytest.mark.parametrize("value", ["é" * 49, (1,) * 45], ids=["fast", "slow"])
    def test_the_limit_counts_bytes_and_is_inclusive(self, value):
        size = len(stored(value).encode())
        encode(value, where=WHERE, limit_bytes=size)
        with pytest.raises(ValueTooLargeError):
            encode(value, where=WHERE, limit_bytes=size - 1)


class NoOffset(tzinfo):
    def utcoffset(self, dt):
        return None if dt is None else timedelta(hours=1)

    def dst(self, dt):
        return None

    def tzname(self, dt):
        return "odd"


class Plain:
    pass


class MappedRow:
    __mapper__ = None


@dataclass
class DictData(dict):
    a: int = 1


class Text(str):
    __slots__ = ()


async def never_awaited() -> None: ...


async def stream():
    yield b""


def refused_coroutine() -> Any:
    coroutine = never_awaited()
    coroutine.close()
    return coroutine


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: io.StringIO("x"), "is an open file (_io.StringIO); return its path, or what was read from it"),
    (threading.Lock, "return the id of what it protects"),
    (asyncio.Lock, "return the id of what it protects"),
    (lambda: (n for n in [1]), "is an iterator (generator); return list(...) of it"),
    ({}.values, "return list(...) of it"),
    (lambda: range(3), "return list(...) of it"),
    (stream, "return [item async for item in ...]"),
    (refused_coroutine, "is a coroutine (coroutine); return its result: did you forget await?"),
    (lambda: len, "return the result of calling it, or its name"),
    (lambda: stored, "return the result of calling it, or its name"),
    (lambda: Plain, "is a class (type); return its name, or an instance of it"),
    (lambda: sys, "is a module (module); return its name"),
    (lambda: ValueError("x"), "raise it, or return str(...) of it"),
    (Plain, f"is an object of class {__name__}.Plain; return a dict or a dataclass of what is needed of it"),
    (MappedRow, "an object mapped to a database row"),
    (DictData, "return a plain dataclass"),
    (lambda: Path("x"), "return str(...) of it"),
    (lambda: 1j, "return str(...) of it"),
    (lambda: Fraction(1, 2), "return str(...) of it"),
    (lambda: memoryview(b"x"), "return bytes(...) of it"),
    (lambda: Text("x"), f"is {__name__}.Text, a subclass of str; return str(...) of it"),
    (lambda: OrderedDict(a=1), "is collections.OrderedDict, a subclass of dict; return dict(...) of it"),
    (lambda: defaultdict(int), "return dict(...) of it"),
    (lambda: Counter("a"), "return dict(...) of it"),
    (lambda: deque([1]), "return list(...) of it"),
    (lambda: datetime(2026, 1, 2, tzinfo=NoOffset()), "use zoneinfo.ZoneInfo, or convert it with .astimezone"),
]


class TestRefusals:
    @pytest.mark.parametrize(("make", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
    def test_what_cannot_be_stored_is_named_with_its_cure(self, make, words):
        message = refusal(make())
        assert message.startswith("the value itself is ")
        assert words in message

    @pytest.mark.parametrize(("make", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
    def test_it_is_found_inside_values_that_the_fast_way_would_take(self, make, words):
        assert refusal({"a": [1, make()]}).startswith("a[1] is ")

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ([len], "[0]"),
            ({"items": [0, 1, 2, {"price": len}]}, "items[3].price"),
            ({"unit price": len}, "['unit price']"),
            ({1: {"a": len}}, "[1].a"),
            (Item("a", (0, Item("b", len))), "price[1].price"),
            ([Order("a", items=[len])], "[0].items[0]"),
            (Customer(note=len), "note"),
            (Point(Point(len)), "x.x"),
        ],
    )
    def test_the_path_leads_to_the_culprit(self, value, path):
        assert refusal(value).startswith(f"{path} is a function")

    @pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}, lambda v: {1: v}, lambda v: (v,)])
    def test_a_circular_reference_is_named(self, wrap):
        inner: list[Any] = []
        inner.append(wrap(inner))
        assert "a circular reference (this list contains itself); return ids in place" in refusal(inner)

    def test_a_circular_object_is_named(self):
        item = Item("a")
        item.price = [item]
        assert refusal(item).startswith("price[0] is a circular reference (this Item contains itself)")

    @pytest.mark.parametrize("leaf", [1, (1,)], ids=["fast", "slow"])
    @pytest.mark.parametrize("levels", [255, 400, 5000])
    def test_a_value_nested_too_deeply_is_a_clear_error(self, leaf, levels):
        value: Any = leaf
        for _ in range(levels):
            value = [value]
        assert "nested" in refusal(value)

    @pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {1: v}, lambda v: (v,)])
    def test_deep_values_within_the_limit_come_back(self, wrap):
        value: Any = b""
        for _ in range(150):
            value = wrap(value)
        assert replayed(value) == value
        plain_json(value)

    def test_a_broken_repr_does_not_hide_the_problem(self):
        class Broken:
            def __repr__(self):
                raise RuntimeError

        assert "[<" in refusal({Frozen(Broken()): 1}) or "Broken" in refusal({Frozen(Broken()): 1})


class Shop(Struct, rename="camel", forbid_unknown_fields=True):
    shop_id: int
    orders: list[Order] = []
    mode: Mode = Mode.FAST
    rating: Annotated[int, Meta(ge=1, le=5)] = 1


@dataclass
class Line:
    sku: str
    quantity: int
    color: Color = Color.RED
    address: Address | None = None
    position: Point | None = None


@dataclass
class Wide:
    sku: str
    quantity: int
    extra: str = ""


class TestRestore:
    @pytest.mark.parametrize(
        ("value", "declared", "expected"),
        [
            ({"sku": "a", "quantity": 2}, Line, Line("a", 2)),
            ({"sku": "a", "quantity": 2, "color": "red"}, Line, Line("a", 2)),
            ({"sku": "a", "quantity": 2, "color": Color.BLUE}, Line, Line("a", 2, Color.BLUE)),
            ({"sku": "a", "quantity": 2, "address": {"city": "x"}}, Line, Line("a", 2, address=Address(city="x"))),
            ({"sku": "a", "quantity": 2, "position": {"x": 1}}, Line, Line("a", 2, position=Point(1))),
            ({"shopId": 1, "orders": [{"orderId": "o"}]}, Shop, Shop(1, [Order("o")])),
            ({"shopId": 1, "orders": [Order("o")]}, Shop, Shop(1, [Order("o")])),
            ({"fullName": "Ann"}, Customer, Customer(fullName="Ann")),
            ({"content": {"city": "x"}}, Envelope[Address], Envelope[Address](content=Address(city="x"))),
            ({"on": "2026-01-02"}, Strict, Strict(on=date(2026, 1, 2))),
            ({"n": 3}, Checked, Checked(3)),
            ({"name": "Ann"}, Profile, {"name": "Ann"}),
            ([1, 2], Point, Point(1, 2)),
            ({"x": 1}, Point, Point(1)),
            ({"type": "Cat", "name": "tom"}, Cat, Cat("tom")),
            (["pair", 1, 2], Pair[int], Pair(1, 2)),
            ("red", Color, Color.RED),
            (Color.RED, Color, Color.RED),
            (["b", 2], Color, Color.BLUE),
            (3, Access, Access.READ | Access.WRITE),
            ([Color.RED, "red"], list[Color], [Color.RED, Color.RED]),
            ({"1": "red"}, dict[int, Color], {1: Color.RED}),
            ({1: Color.RED}, dict[int, Color], {1: Color.RED}),
            ([["a", Color.RED]], list[tuple[str, Color]], [("a", Color.RED)]),
            ([Color.RED], tuple[Color, ...], (Color.RED,)),
            ("2026-01-02T00:00:00Z", datetime, datetime(2026, 1, 2, tzinfo=UTC)),
            (datetime(2026, 1, 2), datetime, datetime(2026, 1, 2)),
            ("PT1.5S", timedelta, timedelta(seconds=1.5)),
            ("1.5", Decimal, Decimal("1.5")),
            ([1, 1], set[int], {1}),
            ("YWI=", bytes, b"ab"),
            (None, int | None, None),
            ({"sku": "a", "quantity": 1}, Line | Wide, Line("a", 1)),
            ({"sku": "a", "quantity": 1, "extra": "x"}, Line | Wide, Wide("a", 1, "x")),
            ({"sku": "a", "quantity": 1}, Line | Address | None, Line("a", 1)),
            ({"city": "x"}, Wide | Address | None, Address(city="x")),
            ("a", Literal["a", "b"], "a"),
            ({"k": 1}, dict, {"k": 1}),
        ],
    )
    def test_plain_data_becomes_the_declared_type(self, value, declared, expected):
        assert same(coerce(value, declared), expected)

    @pytest.mark.parametrize("value", [Line("a", 1), Shop(1), Customer(fullName="x"), Point(1), Checked(1)])
    def test_what_has_the_declared_type_already_passes_as_it_is(self, value):
        assert coerce(value, type(value)) is value
        assert coerce(value, type(value) | None) == value
        assert coerce([value], list[type(value)]) == [value]

    @pytest.mark.parametrize("declared", [Any, None, object, T, "Unresolved"])
    def test_what_is_not_declared_passes_as_it_is(self, declared):
        value = {"a": 1}
        assert coerce(value, declared) is value

    @pytest.mark.parametrize(
        ("value", "declared", "words"),
        [
            ({"sku": "a", "quantity": "2"}, Line, "must fit Line; quantity does not: expected `int`, got `str`"),
            ({"sku": "a"}, Line, "the value itself does not: the required field 'quantity' is missing"),
            ([], Line, "expected an object with the fields of Line, got list"),
            (None, Line, "expected an object with the fields of Line, got null"),
            ({"shopId": 1, "orders": [{"orderId": 3}]}, Shop, "orders[0].orderId does not: expected `str`, got `int`"),
            ({"shopId": 1, "x": 3}, Shop, "the field 'x' is unknown"),
            ({"shopId": 1, "rating": 9}, Shop, "rating does not: expected `int` <= 5"),
            ({"type": "Dog", "name": "x"}, Cat, "the field 'type' must be 'Cat', got 'Dog'"),
            ({"home": {"city": 3}}, Customer, "home.city does not: input should be a valid string"),
            ({"a": [{"home": {"city": 3}}]}, dict[str, list[Customer]], "a[0].home.city does not: input should be"),
            ({"k": {"my key": ["x"]}}, dict[str, dict[str, list[int]]], "k['my key'][0] does not: expected `int`"),
            ({"x": 1}, dict[int, int], "x does not: expected `int`, got `str`"),
            ("green", Color, "the value itself does not: expected one of 'red', ['b', 2], got 'green'"),
            ([1], tuple[int, int], "expected 2 items for tuple[int, int], got 1"),
            pytest.param(8, Access, "8", marks=OLD_FLAGS),
            ("5", int, "expected `int`, got `str`"),
            (5.5, int, "expected `int`, got `float`"),
            ({"name": 3}, Profile, "name does not: expected `str`, got `int`"),
            ({}, Profile, "the required field 'name' is missing"),
            ({"q": 1}, Line | Wide, "expected one of Line, Wide, got dict"),
            ({"n": "x"}, Checked, "n does not: input should be a valid integer"),
            ({"on": "soon"}, Strict, "on does not: input should be a valid date"),
            ({"a": 1}, Callable[[], int], "Callable"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_its_path(self, value, declared, words):
        with pytest.raises(InvalidParamsError) as caught:
            coerce(value, declared, where="the params of workflow 'shop'")
        assert str(caught.value).startswith("the params of workflow 'shop' must fit ")
        assert words in str(caught.value)

    def test_an_error_of_the_class_s_own_rules_is_passed_on(self):
        @dataclass
        class Positive:
            n: int

            def __post_init__(self):
                if self.n < 0:
                    raise ValueError("n must not be negative")

        with pytest.raises(InvalidParamsError, match="n must not be negative"):
            coerce({"n": -1}, Positive)


class TestRestoreResult:
    @pytest.mark.parametrize("declared", [Line, Line | None, Annotated[Line, "x"], Annotated[Line, []], Line | int])
    def test_a_dict_becomes_the_declared_class(self, declared):
        assert coerce_result({"sku": "a", "quantity": 1}, declared) == Line("a", 1)

    @pytest.mark.parametrize(
        ("value", "declared"),
        [
            ({"sku": "a"}, Line),
            ({"sku": "a", "quantity": 1}, Line | dict),
            ({"sku": "a", "quantity": 1}, dict[str, Any]),
            ({"name": "Ann", "more": 1}, Profile),
            ([1], Line),
            ("5", int),
            (Line("a", 1), Line),
            ({"a": 1}, Any),
            ({"a": 1}, None),
        ],
    )
    def test_what_does_not_fit_or_is_no_dict_stays_as_it_is(self, value, declared):
        assert coerce_result(value, declared) is value


class Unshowable(pydantic.BaseModel):
    blob: bytes = b"\xff"
    n: int = 1

    @pydantic.field_serializer("n")
    def write(self, value: int) -> int:
        raise RuntimeError(value)


class TestPlain:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00Z"),
            (datetime(2026, 1, 2, 3, tzinfo=PARIS), "2026-01-02T03:00:00+01:00"),
            (datetime(2026, 1, 2, 3), "2026-01-02T03:00:00"),
            (date(2026, 1, 2), "2026-01-02"),
            (time(1, 2), "01:02:00"),
            (timedelta(seconds=1.5), "PT1.5S"),
            (Decimal("1.50"), "1.50"),
            (b"ab", "YWI="),
            (bytearray(b"ab"), "YWI="),
            (float("nan"), "NaN"),
            (float("inf"), "Infinity"),
            (float("-inf"), "-Infinity"),
            ((1, {3, 2}), [1, [2, 3]]),
            ({1, "a"}, [1, "a"]),
            (Color.RED, "red"),
            (Color.BLUE, ["b", 2]),
            (Access.READ | Access.WRITE, 3),
            ({1: 3, None: 2, (1, 2): 4, Mode.FAST: 5}, {"1": 3, "null": 2, "[1,2]": 4, "fast": 5}),
            (2**70, 2**70),
            (Item("a", (1,)), {"sku": "a", "price": [1]}),
            (Point(1, 2), {"x": 1, "y": 2}),
            (Order("o"), {"orderId": "o", "unitPrice": "0", "items": []}),
            (Cat("tom"), {"type": "Cat", "name": "tom"}),
            (Pair(1, 2), ["pair", 1, 2]),
            (Customer(fullName="A", k=1), {"fullName": "A", "home": None, "limit": "0", "k": 1}),
            (Unshowable(), {"blob": "/w==", "n": 1}),
            ({"$": 1}, {"$": 1}),
            ("\ud800", "\\ud800"),
            (UNSET, None),
        ],
        ids=_label,
    )
    def test_every_kind_has_a_form_for_people(self, value, expected):
        if isinstance(value, set) and expected == [1, "a"]:
            assert sorted(plain(value), key=str) == expected
        else:
            assert plain(value) == expected

    @given(nested(SCALARS | st.floats()))
    def test_nothing_that_can_be_stored_fails(self, value):
        text = plain_json(value)
        assert json.loads(text) == json.loads(json.dumps(plain(value)))

    @pytest.mark.parametrize("value", VALUES, ids=_label)
    def test_every_kind_can_be_written(self, value):
        json.loads(plain_json(value))

    def test_numbers_too_long_for_decimal_digits_are_written_in_hexadecimal(self):
        assert plain(1 << 60_000).startswith("0x1000")

    @given(JSON_VALUES)
    def test_plain_json_values_are_written_as_they_are(self, value):
        try:
            expected = orjson.dumps(value)
        except TypeError:
            return
        if "Infinity" not in str(plain(value)):
            assert plain_json(value) == expected

    def test_what_cannot_be_stored_cannot_be_written_either(self):
        with pytest.raises(NotSerializableError, match="did you forget await"):
            plain({"a": refused_coroutine()})
        circular: list[Any] = []
        circular.append(circular)
        with pytest.raises(NotSerializableError, match="circular"):
            plain(circular)
