"""Every code block of the documentation is run, or checked against what it shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

RUN_ELSEWHERE = {
    "python3 run.py demo --once": "tests/examples/test_order_pipeline_demo.py",
    "python3 run.py test": "this very suite",
    "python3 -m venv ../shop/.venv": "this very suite runs in an environment",
    ". ../shop/.venv/bin/activate": "this very suite runs in an environment",
    "pip install .": "this very suite runs on an installed checkout",
}
CHECKED_ELSEWHERE = {
    "pycon": "tests/docs/test_docstrings.py",
    "toml": "tests/config",
    "jsonc": "tests/config",
    "json": "tests/server",
    "sql": "tests/store",
    "console": "tests/server/test_http_api_docs.py",
}


def blocks(language: str) -> list[tuple[Path, str]]:
    return [
        (page, text)
        for page in PAGES
        for tag, text in BLOCK.findall(page.read_text(encoding="utf-8"))
        if tag == language
    ]


def environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


CELLS_OF_A_NOTEBOOK = {"notebooks.md": "tests/docs/test_notebooks_page.py"}
PROGRAMS = [(page, code) for page, code in blocks("python") if page.name not in CELLS_OF_A_NOTEBOOK]


@pytest.mark.parametrize(("page", "code"), PROGRAMS, ids=lambda value: getattr(value, "name", "code"))
def test_python_blocks_run(page: Path, code: str, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(code)

    ran = subprocess.run(
        [sys.executable, "-W", "error", "block.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, f"{page.name}: {ran.stderr}"


def test_the_first_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    [hello] = [code for page, code in blocks("python") if page.name == "README.md" and "# hello.py" in code]
    (tmp_path / "hello.py").write_text(hello)

    first = subprocess.run([sys.executable, "hello.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    again = subprocess.run([sys.executable, "hello.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert first.stdout == again.stdout == "Hello, Ada!\n"


def test_the_first_example_goes_on_after_kill_9(tmp_path: Path) -> None:
    [hello] = [code for page, code in blocks("python") if page.name == "README.md" and "# hello.py" in code]
    (tmp_path / "hello.py").write_text(hello)
    process = subprocess.Popen([sys.executable, "hello.py"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    while not (tmp_path / ".everstep" / "state.db").exists():
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()

    again = subprocess.run([sys.executable, "hello.py"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert again.stdout == "Hello, Ada!\n", again.stderr


def test_shell_blocks_of_the_readme_work_in_order(tmp_path: Path) -> None:
    commands = [line for page, text in blocks("sh") if page.name == "README.md" for line in text.splitlines()]
    commands = [command for command in commands if command not in RUN_ELSEWHERE]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder, server, id = tmp_path / "clone", None, "ID"
    folder.mkdir()
    try:
        for command in commands:
            if command.startswith("cd "):
                folder = folder / command.removeprefix("cd ")
            elif command == "everstep dev":
                server = subprocess.Popen(
                    ["everstep", "dev", "--no-keys", "--port", str(port)],
                    cwd=folder,
                    env=environment(),
                    stderr=subprocess.DEVNULL,
                )
            else:
                answer = shell(command.replace("8787", str(port)).replace("ID", id), folder)
                if '"id"' in answer:
                    id = json.loads(answer)["id"]
        deadline = time.monotonic() + 30  # the template's polite pause is real
        while (status := json.loads(shell(f"curl -s 'http://127.0.0.1:{port}/hello?id={id}'", folder)))[
            "output"
        ] is None:
            assert time.monotonic() < deadline, status
            time.sleep(0.1)
        assert status["output"] == "Hello, Ada!"
    finally:
        if server is not None:
            server.terminate()
            server.wait(20)


def test_what_is_installed_is_this_checkout_and_not_what_no_index_has() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    pages = [
        *PAGES,
        ROOT / "examples/order_pipeline/README.md",
        *(ROOT / "src/everstep/cli/templates").rglob("*.md.txt"),
    ]
    installed = [
        argument
        for page in pages
        for command in re.findall(r"pip install ([^`\n]+)", page.read_text(encoding="utf-8"))
        for argument in shlex.split(command)
    ]

    assert {".", ".[postgres]"} <= set(installed)
    for argument in installed:
        assert not argument.startswith("everstep"), argument
        assert set(re.findall(r"^\.\[(\w+)\]", argument)) <= set(extras)


def shell(command: str, folder: Path) -> str:
    if command.startswith("curl "):
        command = "curl -sS --retry 40 --retry-connrefused --retry-delay 1 " + command.removeprefix("curl ")
    ran = subprocess.run(
        command, shell=True, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, f"{command}: {ran.stderr}"
    return ran.stdout


def test_every_block_has_a_language_that_some_test_knows() -> None:
    for page in PAGES:
        for tag, text in BLOCK.findall(page.read_text(encoding="utf-8")):
            assert tag in {"", "text", "mermaid", "python", "sh", *CHECKED_ELSEWHERE}, f"{page.name}: {text[:40]}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_start_page_leads_to_every_page() -> None:
    start, tutorial = ROOT / "docs/README.md", ROOT / "examples/order_pipeline/README.md"
    found, unread = {start}, [start]
    while unread:
        page = unread.pop()
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+\.md)", page.read_text(encoding="utf-8")):
            linked = (page.parent / target).resolve()
            if linked not in found and linked.exists():
                found.add(linked)
                unread += [linked] if linked.name == "README.md" and linked.parent != ROOT else []  # a page of pages

    assert {page.relative_to(ROOT).as_posix() for page in {*PAGES, tutorial} - found} == set()


def test_the_command_line_page_names_every_command_and_option() -> None:
    import click

    from everstep.cli.main import main

    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert f"## everstep {name}" in page
        parameters = [*command.params]
        if isinstance(command, click.Group):
            parameters += [option for inner in command.commands.values() for option in inner.params]
        for parameter in parameters:
            if isinstance(parameter, click.Option):
                documented = any(option in page for option in (*parameter.opts, *parameter.secondary_opts))
                assert documented, f"everstep {name} {parameter.opts} is not documented"


def test_the_errors_page_names_every_public_error() -> None:
    import everstep

    page = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
    for name in everstep.__all__:
        value = getattr(everstep, name)
        if (
            isinstance(value, type)
            and issubclass(value, everstep.EverstepError)
            and value is not everstep.EverstepError
        ):
            assert f"`{name}`" in page
            assert f"`{value.code}`" in page or name == "InstanceStateError"
