"""`everstep dev` reloads when the program changes, and only then; a step that reloads cut off comes to an end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from dev_process import DevProcess

pytestmark = pytest.mark.crash

REPORT = """
import asyncio, pathlib
import helping
from everstep import Response, WorkerEntrypoint, WorkflowEntrypoint

class Report(WorkflowEntrypoint):
    async def run(self, event, step):
        return await step.do("export", {"retries": {"limit": 0}}, export, **event.payload)

async def export(id, beside, ctx, seconds=0.7):
    with open("starts.log", "a") as log:
        log.write(f"{ctx.attempt}\\n")
    comment = f"# {ctx.attempt}\\n" * len(starts())
    pathlib.Path(beside).write_text("{}" if beside.endswith("json") else comment)
    await asyncio.sleep(seconds)
    return helping.WORD

def starts():
    return pathlib.Path("starts.log").read_text().split()

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.method == "POST":
            order = await request.json()
            await self.env.REPORT.create(id=order["id"], params=order)
        return Response.json(await (await self.env.REPORT.get(request.query_params.get("id", "one"))).status())
"""


@pytest.fixture
def dev(tmp_path: Path):
    source = tmp_path / "source"
    source.write_text(REPORT)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "helping.py").write_text('WORD = "old"\n')
    with DevProcess(folder, source) as process:
        process.start()
        yield process


def starts(dev: DevProcess) -> list[str]:
    return (dev.folder / "starts.log").read_text().split()


def reloads(dev: DevProcess) -> int:
    return dev.log.read_text().count("changed: reloading")


@pytest.mark.parametrize("beside", ["report.json", "notes.toml", "made.py"])
def test_what_a_step_writes_beside_the_program_reloads_nothing(dev: DevProcess, beside: str) -> None:
    dev.create("one", beside=beside)
    assert dev.wait_for("one", "complete", "errored")["output"] == "old"
    assert (starts(dev), reloads(dev)) == (["1"], 0)


@pytest.mark.parametrize("changed", ["helping.py", "everstep.toml", ".dev.vars"])
def test_a_file_that_is_read_at_the_start_reloads(dev: DevProcess, changed: str) -> None:
    path = dev.folder / changed
    old = path.read_text() if path.exists() else "KEY=1\n"
    path.write_text(old.replace("old", "new") + "\n")
    deadline = time.monotonic() + 20
    while "Ready again" not in dev.log.read_text():
        assert time.monotonic() < deadline, dev.log.read_text()
        time.sleep(0.05)
    dev.create("one", beside="report.json")
    assert dev.wait_for("one", "complete")["output"] == ("new" if changed == "helping.py" else "old")


def test_a_step_that_changes_the_program_itself_is_cut_off_a_few_times_and_not_for_ever(dev: DevProcess) -> None:
    dev.create("one", beside=".env", seconds=60)
    ended = dev.wait_for("one", "complete", "errored", seconds=80)
    assert (ended["status"], ended["error"]["name"]) == ("errored", "AttemptInterruptedError")
    assert starts(dev) == ["1"] * 4
