"""Secrets for local runs."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everstep.config import Secrets, load_secrets
from everstep.config.secrets_file import parse_dotenv
from everstep.core.errors import ConfigError

from .conftest import ProjectDirectory


def test_the_tutorials_dev_vars_is_read(project: ProjectDirectory) -> None:
    project.write(
        ".dev.vars",
        dedent("""\
        PAYMENT_API_KEY="test_sk_local_xxxxxxxxxxxxxxxx"
        INVENTORY_API_URL="https://staging.inventory.example.com"
        EMAIL_API_URL="https://staging.email.example.com"
        """),
    )
    secrets = load_secrets(project.root)
    assert dict(secrets) == {
        "PAYMENT_API_KEY": "test_sk_local_xxxxxxxxxxxxxxxx",
        "INVENTORY_API_URL": "https://staging.inventory.example.com",
        "EMAIL_API_URL": "https://staging.email.example.com",
    }
    assert secrets.files == (".dev.vars",)


def test_without_any_file_there_are_no_secrets(project: ProjectDirectory) -> None:
    assert load_secrets(project.root) == {}


class TestFiles:
    @pytest.fixture(autouse=True)
    def _dotenv(self, project: ProjectDirectory) -> None:
        for name in (".env", ".env.staging", ".env.local", ".env.staging.local"):
            project.write(name, f"A={name}\n{name.replace('.', '_')}=1\n")

    def test_dev_vars_is_used_alone(self, project: ProjectDirectory) -> None:
        project.write(".dev.vars", "A=dev")
        assert dict(load_secrets(project.root)) == {"A": "dev"}

    def test_dev_vars_of_the_environment_is_used_alone(self, project: ProjectDirectory) -> None:
        project.write(".dev.vars", "A=dev\nB=1")
        project.write(".dev.vars.staging", "A=staging")
        assert dict(load_secrets(project.root, "staging")) == {"A": "staging"}
        assert dict(load_secrets(project.root, "production")) == {"A": "dev", "B": "1"}

    def test_env_files_are_laid_over_each_other(self, project: ProjectDirectory) -> None:
        without = load_secrets(project.root)
        assert (without["A"], without.files) == (".env.local", (".env", ".env.local"))
        staging = load_secrets(project.root, "staging")
        assert staging["A"] == ".env.staging.local"
        assert set(staging) == {"A", "_env", "_env_staging", "_env_local", "_env_staging_local"}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=plain", "plain"),
        ("  A = spaced out  ", "spaced out"),
        ("export A=exported", "exported"),
        ("A=", ""),
        ("A= # only a comment", ""),
        ("A=value # a comment", "value"),
        ("A=value#not-a-comment", "value#not-a-comment"),
        ("A=a=b==", "a=b=="),
        ("A=it's", "it's"),
        ("A='single # ${X} \\n'", "single # ${X} \\n"),
        ('A=`it\'s "both"`', 'it\'s "both"'),
        ('A="double # kept" # dropped', "double # kept"),
        (r'A="one\ntwo\t\"three\" \\ \d \$"', 'one\ntwo\t"three" \\ \\d $'),
        ('A="first\nsecond"', "first\nsecond"),
        ("A='first\nsecond'", "first\nsecond"),
        ('A=""', ""),
        ("A.b-c=1", None),
    ],
)
def test_values_are_read_as_dotenv_files_write_them(line: str, value: str | None) -> None:
    expected = {"A.b-c": "1"} if value is None else {"A": value}
    assert parse_dotenv(f"# before\n\n{line}\n   \nZ=last", ".env") == {**expected, "Z": "last"}


def test_the_last_of_two_values_wins() -> None:
    assert parse_dotenv("A=1\r\nA=2".replace("\r", ""), ".env") == {"A": "2"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nsk_live_hunter2\n", ".env:2: expected NAME=value, with a name of letters, digits and _"),
        ("1A=hunter2", ".env:1: expected NAME=value, with a name of letters, digits and _"),
        ("=hunter2", ".env:1: expected NAME=value, with a name of letters, digits and _"),
        ('A="one\ntwo"\nB="hunter2\nC=1', ".env:3: the value's quotes do not close, or something follows them"),
        ("A='hunter2' x", ".env:1: the value's quotes do not close, or something follows them"),
        ('A= "hunter2', ".env:1: the value's quotes do not close, or something follows them"),
    ],
)
def test_a_malformed_line_is_told_by_its_number_and_never_shown(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_dotenv(text, ".env")
    assert str(caught.value).startswith(message)
    assert "hunter2" not in str(caught.value)


def test_the_place_of_a_malformed_line_is_its_file(project: ProjectDirectory) -> None:
    project.write(".dev.vars", "oops")
    with pytest.raises(ConfigError, match=r"^\.dev\.vars:1: expected NAME=value"):
        load_secrets(project.root)


def test_values_are_not_in_any_text_of_the_result() -> None:
    secrets = Secrets({"PAYMENT_API_KEY": "hunter2"})
    assert f"{secrets} {secrets!r}" == "Secrets(PAYMENT_API_KEY) Secrets(PAYMENT_API_KEY)"


@given(st.text(st.characters(exclude_characters="\r", exclude_categories=("Cs",))))
def test_any_text_survives_double_quotes(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_dotenv(f'A="{escaped}"', ".env") == {"A": value}


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_dotenv(text, ".env")
    except ConfigError:
        pass
