"""Fields of pydantic models that pydantic writes, as nothing else can."""

# ruff: noqa: UP006, UP035  # pydantic's own names for the types, as apps write them

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Any, DefaultDict

import pydantic
import pytest

from everstep.core.errors import NotSerializableError, StoredValueError
from everstep.core.serialization.codec import decode, encode


class Fields(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(validate_default=True)

    url: pydantic.HttpUrl = "https://x.de/a?b=1"  # type: ignore[assignment]
    dsn: pydantic.PostgresDsn = "postgresql://u@h/d"  # type: ignore[assignment]
    address: IPv4Address = IPv4Address("10.0.0.1")
    networks: list[IPv6Network] = [IPv6Network("::/64")]
    path: Path = Path("a/b")
    pure: PurePosixPath | None = PurePosixPath("/a")
    size: pydantic.ByteSize = 1024  # type: ignore[assignment]
    queue: deque[int] = deque([1, 2])
    grouped: DefaultDict[str, list[int]] = defaultdict(list, {"a": [1]})
    ordered: OrderedDict[str, int] = OrderedDict(b=1, a=2)
    counts: Counter[str] = Counter("aab")
    pattern: re.Pattern[str] = re.compile("a+")
    part: Fraction = Fraction(1, 3)
    number: complex = 1 + 2j


class Outer(pydantic.BaseModel):
    inner: dict[str, Fields]
    anything: Any = None


class Secrets(pydantic.BaseModel):
    key: pydantic.SecretStr | None = None
    raw: pydantic.SecretBytes | None = None
    keys: list[pydantic.SecretStr] = []


def replayed(value: object) -> Any:
    text, live = encode(value, where="it")
    assert live == value
    return decode(text, where="it")


@pytest.mark.parametrize("name", Fields.model_fields)
def test_a_field_comes_back_equal_and_of_its_type(name: str) -> None:
    value = Fields()
    back = replayed(value)
    assert getattr(back, name) == getattr(value, name)
    assert type(getattr(back, name)) is type(getattr(value, name))


def test_a_model_in_a_model_comes_back() -> None:
    value = Outer(inner={"a": Fields(), "b": Fields(size=2)})
    assert replayed([value]) == [value]


def test_a_secret_is_refused_and_never_becomes_asterisks() -> None:
    for secrets in (Secrets(key="k"), Secrets(raw=b"k"), Secrets(keys=["a", "k"])):
        with pytest.raises(NotSerializableError, match=r"is a secret, which would be stored as asterisks .*from env"):
            encode(secrets, where="it")
    assert replayed(Secrets()) == Secrets()


@pytest.mark.parametrize("value", [IPv4Address("10.0.0.1"), [Path("a")], {"a": deque([1])}], ids=repr)
def test_what_its_type_would_not_read_back_is_refused_with_its_path(value: object) -> None:
    with pytest.raises(NotSerializableError, match=r"cannot be stored: anything(\[0\]|\.a)? is"):
        encode(Outer(inner={}, anything=value), where="it")


def test_what_equals_and_is_not_the_same_is_refused() -> None:
    with pytest.raises(NotSerializableError, match="queue is a deque"):
        encode(Fields(queue=deque([1], maxlen=3)), where="it")


def test_a_field_whose_type_is_another_today_says_so() -> None:
    text, _ = encode(Fields(), where="it")
    with pytest.raises(StoredValueError, match="cannot be restored by today's code"):
        decode(text.replace("10.0.0.1", "no address"), where="it")


def test_pydantic_is_not_imported_for_what_is_no_model() -> None:
    code = (
        "import sys; from everstep.core.serialization.codec import encode\n"
        "from everstep.core.errors import NotSerializableError\n"
        "try: encode({'a': (1, object())}, where='it')\n"
        "except NotSerializableError: print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
