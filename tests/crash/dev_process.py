"""`everstep dev` as a real process for tests: started, killed, asked over HTTP."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx
from databases import Database, SqliteFile

SHOP = Path(__file__).with_name("shop.py")
LEASE = "30 seconds"
"""Longer than any test: whose lease is over is said by tests, not by the clock."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class DevProcess:
    """One project folder and the process that serves it, again and again on the same port."""

    def __init__(self, folder: Path, source: Path = SHOP, *, database: Database | None = None) -> None:
        self.folder = folder
        self._database = database or SqliteFile(folder / ".everstep" / "state.db")
        self.port = free_port()
        self.effects = folder / "effects"
        self.log = folder / "dev.log"
        (folder / "shop.py").write_text(source.read_text())
        (folder / "everstep.toml").write_text(
            f'name = "shop"\nmain = "shop.py"\ndatabase = "{self._database.url}"\nlease = "{LEASE}"\n'
        )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        command = [sys.executable, "-m", "everstep", "dev", "--port", str(self.port), "--no-keys", *options]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--var", f"EFFECTS:{self.effects}"], cwd=self.folder, stdout=log, stderr=log
            )
        self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                self.http.get("/client/v4/accounts/local/workflows")
            except httpx.TransportError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(f"everstep dev did not come up:\n{self.log.read_text()}")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._database.died()

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def create(self, id: str, **params: Any) -> None:
        self.http.post("/orders", json={"id": id, **params}).raise_for_status()

    def status(self, id: str) -> dict[str, Any]:
        answer = self.http.get("/orders", params={"id": id})
        answer.raise_for_status()
        return answer.json()

    def wait_for(self, id: str, *statuses: str, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (status := self.status(id))["status"] not in statuses:
            assert time.monotonic() < deadline, f"{id} is {status}\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)
        return status

    def counts(self) -> dict[str, int]:
        result = self.http.get("/client/v4/accounts/local/workflows").json()["result"]
        return result[0]["instances"]

    def recorded(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.effects.read_text().splitlines()]
