"""What people read when their settings are wrong."""

from __future__ import annotations

from textwrap import dedent

import pytest

from .conftest import ProjectDirectory

WORKFLOW = '[[workflows]]\nclass_name = "Order"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("databse = 1", "everstep.toml:1: unknown key 'databse', did you mean 'database'?"),
        (
            '[[workflows]]\nclass-name = "Order"',
            (
                "2 problems in everstep.toml:\n"
                "  everstep.toml:2: unknown key 'class-name' in workflows[0], did you mean 'class_name'?\n"
                '  everstep.toml:1: workflows[0]: class_name is missing; write for example class_name = "OrderPipeline"'
            ),
        ),
        (
            f"{WORKFLOW}\n[workflows.limits]\nqqq = 1",
            "everstep.toml:5: unknown key 'qqq' in workflows[0].limits; known: steps, concurrency",
        ),
        ('[env.dev]\nmian = "x"', "everstep.toml:2: unknown key 'mian' in env.dev, did you mean 'main'?"),
        ("kv_namespaces = []", "everstep.toml:1: key 'kv_namespaces' is wrangler's and means nothing here; remove it"),
        ("\nname = 5", 'everstep.toml:2: name: expected text such as "shop", got the number 5'),
        (
            "compatibility_date = 2026-05-01",
            'everstep.toml:1: compatibility_date: expected text such as "2026-05-01", got a date (put it in quotes)',
        ),
        ("workflows = true", "everstep.toml:1: workflows: expected a list of tables, got true"),
        ("[workflows]\nname = 'x'", "everstep.toml:1: workflows: expected a list of tables, got a table"),
        ("env = []", "everstep.toml:1: env: expected a table, got a list"),
        ("vars = 'hunter2'", "everstep.toml:1: vars: expected a table, got a text"),
        (
            f"{WORKFLOW}limits = {{ steps = 0 }}",
            "everstep.toml:3: workflows[0].limits.steps: expected a whole number from 1 up, got the number 0",
        ),
        (
            f"{WORKFLOW}limits.concurrency = 'many'",
            'everstep.toml:3: workflows[0].limits.concurrency: expected a whole number from 1 up, got the text "many"',
        ),
        (
            f"{WORKFLOW}limits.steps = true",
            "everstep.toml:3: workflows[0].limits.steps: expected a whole number from 1 up, got true",
        ),
        (
            f"{WORKFLOW}name = 'order pipeline'",
            (
                "everstep.toml:3: workflows[0].name: workflow name 'order pipeline' is not allowed: use 1 to 64 "
                "characters of A-Z, a-z, 0-9, _ and -, not starting with -"
            ),
        ),
        (
            f"{WORKFLOW}binding = 'order-pipeline'",
            (
                "everstep.toml:3: workflows[0].binding: 'order-pipeline' is not a Python name: "
                "use letters, digits and _, not starting with a digit"
            ),
        ),
        (
            "[[workflows]]\nclass_name = 'Été'",
            (
                "everstep.toml:2: workflows[0] needs a name, as its class gives none: workflow name 'été' "
                "is not allowed: use 1 to 64 characters of A-Z, a-z, 0-9, _ and -, not starting with -"
            ),
        ),
        (
            f"{WORKFLOW}default_retention = {{ success_retention = '7 dayz' }}",
            (
                "everstep.toml:3: workflows[0].default_retention.success_retention: '7 dayz' is not a duration; "
                'write it like "10 seconds", "1.5 hours" or "30 days"'
            ),
        ),
        (
            f"{WORKFLOW}default_retention = {{ error_retention = '1001 years' }}",
            (
                "everstep.toml:3: workflows[0].default_retention.error_retention: "
                "must be at most 365,000 days, got '1001 years'"
            ),
        ),
        (
            f"{WORKFLOW}default_retention = {{ error_retention = 7 }}",
            (
                'everstep.toml:3: workflows[0].default_retention.error_retention: expected text such as "90 days", '
                "got the number 7"
            ),
        ),
        (
            f"{WORKFLOW}schedules = ['0 9 * * 1', 'daily']",
            (
                "everstep.toml:3: workflows[0].schedules: 'daily' is not a schedule: "
                'write five fields (minute, hour, day, month, weekday; UTC) such as "0 9 * * 1"'
            ),
        ),
        (
            f"{WORKFLOW}schedules = '99 6 * * *'",
            (
                "everstep.toml:3: workflows[0].schedules: '99 6 * * *' is not a schedule: '99' is no minute; "
                "write 0 to 59, or ranges (1-5), steps (*/2) and lists (1,3) of these"
            ),
        ),
        (
            f"{WORKFLOW}schedules = []",
            (
                "everstep.toml:3: workflows[0].schedules: is empty; "
                'write a schedule such as "0 9 * * 1", or leave the key out'
            ),
        ),
        (
            f"{WORKFLOW}schedules = 5",
            (
                "everstep.toml:3: workflows[0].schedules: expected text or a list of texts "
                'such as "0 9 * * 1", got the number 5'
            ),
        ),
        (
            "[triggers]\ncrons = ['x']",
            (
                "everstep.toml:2: triggers.crons: 'x' is not a schedule: "
                'write five fields (minute, hour, day, month, weekday; UTC) such as "0 9 * * 1"'
            ),
        ),
        *(
            (f"lease = '{lease}'", f"everstep.toml:1: lease: a lease must be from 2 seconds to 1 day, got '{lease}'")
            for lease in ("0 seconds", "1 second", "25 hours")
        ),
        (
            "database_direct = 'sqlite:///state.db'",
            (
                "everstep.toml:1: database_direct: 'sqlite:///state.db' is not the URL of a PostgreSQL database; "
                'write "postgresql://…"'
            ),
        ),
        ("main = ''", "everstep.toml:1: main: must not be empty"),
        (
            'observability = {enabled = "x", foo = 1}',
            (
                "2 problems in everstep.toml:\n"
                '  everstep.toml:1: observability.enabled: expected true or false, got the text "x"\n'
                "  everstep.toml:1: unknown key 'foo' in observability; "
                "known: enabled, head_sampling_rate, logs, traces"
            ),
        ),
        (
            "[observability.logs]\nhead_sampling_rate = 2",
            "everstep.toml:2: observability.logs.head_sampling_rate: expected a number from 0 to 1, got the number 2",
        ),
        (
            "name = 'my shop'",
            "everstep.toml:1: name: 'my shop' is not allowed: use 1 to 255 characters of A-Z, a-z, 0-9, _, . and -",
        ),
        (
            "database = 'state.db'",
            (
                "everstep.toml:1: database: 'state.db' is not a database URL; "
                'write "sqlite:///state.db" or "postgresql://…"'
            ),
        ),
        (
            "database = 'sqlite://state.db'",
            "everstep.toml:1: database: 'sqlite://state.db' has two slashes; write \"sqlite:///state.db\" with three",
        ),
        (
            "database = 'postgresq://ada:hunter2@db'",
            (
                "everstep.toml:1: database: databases of kind 'postgresq' are not supported, "
                "did you mean 'postgresql'? use sqlite:// or postgresql://"
            ),
        ),
        (
            "main = 'src/app.js'",
            (
                "everstep.toml:1: main: 'src/app.js' is JavaScript, which Everstep does not run; "
                'point main at a Python file such as "src/app.py" or at a module such as "app"'
            ),
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_its_cure(project: ProjectDirectory, text: str, message: str) -> None:
    project.write("everstep.toml", text)
    assert project.error() == message


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            "name = 'order'\nbinding = 'B'",
            "everstep.toml:6: workflows[1].name: 'order' is already the name of workflows[0]",
        ),
        (
            "name = 'b'\nbinding = 'ORDER'",
            "everstep.toml:7: workflows[1].binding: 'ORDER' is already the name in env of workflows[0]",
        ),
        (
            "name = 'b'\nbinding = 'REGION'",
            "everstep.toml:7: workflows[1].binding: 'REGION' is already the name in env of vars.REGION",
        ),
    ],
)
def test_names_are_given_once_even_when_they_follow_from_the_class(
    project: ProjectDirectory, second: str, message: str
) -> None:
    project.write(
        "everstep.toml", f"{WORKFLOW}\n[[workflows]]\nclass_name = 'Other'\n{second}\n[vars]\nREGION = 'gru'\n"
    )
    assert project.error() == message


def test_several_mistakes_are_told_at_once(project: ProjectDirectory) -> None:
    project.write(
        "everstep.toml",
        dedent("""\
        nmae = "shop"
        main = "src/app.ts"

        [[workflows]]
        class_name = "1st"

        [env.production]
        lease = 15
        """),
    )
    assert project.error(environ={"EVERSTEP_DATABASE": "nowhere"}, name=" ").split("\n  ") == [
        "6 problems in everstep.toml:",
        "everstep.toml:1: unknown key 'nmae', did you mean 'name'?",
        (
            "everstep.toml:5: workflows[0].class_name: '1st' is not a Python name: "
            "use letters, digits and _, not starting with a digit"
        ),
        'everstep.toml:8: env.production.lease: expected text such as "15 seconds", got the number 15',
        (
            "EVERSTEP_DATABASE: database: 'nowhere' is not a database URL; "
            'write "sqlite:///state.db" or "postgresql://…"'
        ),
        "--name: name: ' ' is not allowed: use 1 to 255 characters of A-Z, a-z, 0-9, _, . and -",
        (
            "everstep.toml:2: main: 'src/app.ts' is TypeScript, which Everstep does not run; "
            'point main at a Python file such as "src/app.py" or at a module such as "app"'
        ),
    ]


def test_mistakes_in_pyproject_have_the_line_of_pyproject(project: ProjectDirectory) -> None:
    project.write("pyproject.toml", '[project]\nname = "x"\n\n[tool.everstep]\nname = "x"\nmian = "y"\n')
    assert project.error() == "pyproject.toml:6: unknown key 'mian', did you mean 'main'?"


def test_wrong_types_in_wrangler_files_are_errors(project: ProjectDirectory) -> None:
    project.write("wrangler.jsonc", '{\n  // the app\n  "name": "shop",\n  "vars": [],\n}')
    assert project.error() == "wrangler.jsonc:4: vars: expected a table, got a list"


def test_a_workflow_without_class_is_told_with_the_line_where_it_begins(project: ProjectDirectory) -> None:
    project.write("wrangler.json", '{"workflows": [\n  {"class_name": "A"},\n  {\n    "name": "b"\n  }\n]}')
    assert project.error() == (
        'wrangler.json:3: workflows[1]: class_name is missing; write for example class_name = "OrderPipeline"'
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "everstep.toml",
            'name = "a"\nmain = = "b"\n',
            'everstep.toml:2:8: not valid TOML: Invalid value\n  2 | main = = "b"\n    |        ^',
        ),
        (
            "everstep.toml",
            'name = "a"\nvars = [\n',
            "everstep.toml:2:9: not valid TOML: Invalid value at the end of the file\n  2 | vars = [\n    |         ^",
        ),
        (
            "everstep.toml",
            "name = 1\nname = 2\n",
            "everstep.toml:2:9: not valid TOML: Cannot overwrite a value\n  2 | name = 2\n    |         ^",
        ),
        (
            "wrangler.jsonc",
            '{\n\t"a": 1, // one\n\t"b" 2\n}',
            "wrangler.jsonc:3:6: not valid JSON: Expecting ':' delimiter\n  3 | \t\"b\" 2\n    | \t    ^",
        ),
        (
            "wrangler.json",
            "",
            "wrangler.json:1:1: not valid JSON: Expecting value\n  1 | \n    | ^",
        ),
        (
            "everstep.toml",
            'database = "postgresql://ada:hunter2@db" x\n',
            (
                "everstep.toml:1:42: not valid TOML: Expected newline or end of document after a statement\n"
                '  1 | database = "postgresql://ada:*******@db" x\n'
                "    |                                          ^"
            ),
        ),
    ],
)
def test_broken_syntax_is_shown_with_a_caret(project: ProjectDirectory, name: str, text: str, message: str) -> None:
    project.write(name, text)
    assert project.error() == message


def test_a_file_that_holds_no_table_is_refused(project: ProjectDirectory) -> None:
    project.write("wrangler.json", "[1]")
    assert project.error() == "wrangler.json:1: expected a table, got a list"
    project.write("pyproject.toml", "[tool]\neverstep = 5")
    assert project.error() == "pyproject.toml:2: expected a table, got the number 5"


def test_a_file_that_is_not_text_is_refused(project: ProjectDirectory) -> None:
    (project.root / "everstep.toml").write_bytes(b'name = "\xff"')
    assert project.error() == "everstep.toml is not UTF-8 text (byte 8); save it as UTF-8"


def test_a_file_may_begin_with_a_byte_order_mark(project: ProjectDirectory) -> None:
    (project.root / "everstep.toml").write_bytes(b'\xef\xbb\xbfname = "shop"\r\nmain = "a.py"\r\n')
    assert project.load().config.name == "shop"


def test_a_variable_that_needs_json_says_so(project: ProjectDirectory) -> None:
    assert project.error(environ={"EVERSTEP_VARS": "REGION=gru"}) == (
        "EVERSTEP_VARS must be JSON, as vars is not a single text: Expecting value at character 1"
    )
    assert project.error(environ={"EVERSTEP_VARS": "[]"}) == "EVERSTEP_VARS: vars: expected a table, got a list"
