"""The stand-ins and `everstep dev` as child processes, and a client for both. Nothing it starts outlives it.

Children get a process group of their own, so that a kill reaches all of one and never this process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

HERE = Path(__file__).resolve().parent
WORKFLOW = "order-pipeline"
T = TypeVar("T")


class PlaygroundError(Exception):
    """Something did not start or did not happen in time; the message ends with the log's last lines."""


class Child:
    """One child process, its log file and the address it serves."""

    def __init__(self, name: str, command: list[str], url: str, log: Path) -> None:
        self.name = name
        self.url = url
        self.log = log
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready_path: str, timeout: float = 20) -> None:
        """Start it and wait until `ready_path` is answered with 200."""
        # A proxy set for the outside world must not be asked for 127.0.0.1.
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1,localhost"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=HERE, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self.wait_for(f"{self.name} to answer", lambda: answers(self.url + ready_path), timeout)

    def wait_for(self, what: str, probe: Callable[[], T | None], timeout: float) -> T:
        """Poll `probe` until it gives something true; fail when time is up or the process has died."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if found := probe():
                return found
            if self._process is not None and self._process.poll() is not None:
                raise self.failure(f"{self.name} ended with code {self._process.returncode}, waiting for {what}")
            time.sleep(0.05)
        raise self.failure(f"waited {timeout:g} s for {what}")

    def failure(self, message: str, lines: int = 20) -> PlaygroundError:
        tail = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        log = "".join(f"\n  | {line}" for line in tail) or "\n  | (empty)"
        return PlaygroundError(f"{message}\nThe end of {self.name}'s log:{log}")

    def kill(self) -> None:
        """What a power cut would do."""
        self._end(signal.SIGKILL, timeout=5)

    def stop(self) -> None:
        """Ask it to end, and insist if it does not."""
        if not self._end(signal.SIGINT, timeout=5):
            self.kill()

    def _end(self, sign: signal.Signals, timeout: float) -> bool:
        if self._process is None:
            return True
        try:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        # Whatever the leader left behind goes with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None
        return True


class Playground:
    """A running shop: stand-ins, `everstep dev` on a state directory, and what a customer or a test asks of them."""

    def __init__(self, state: Path, port: int = 8787, variables: Mapping[str, str] | None = None) -> None:
        if not is_free(port):
            raise PlaygroundError(f"Port {port} is in use; choose another with --port")
        state.mkdir(parents=True, exist_ok=True)
        services_port = free_port(8790)
        self.services = Child(
            "standins", [sys.executable, "standins.py", "--port", str(services_port)],
            f"http://127.0.0.1:{services_port}", state / "standins.log",
        )  # fmt: skip
        urls = dict.fromkeys(("PAYMENT_API_URL", "INVENTORY_API_URL", "EMAIL_API_URL"), self.services.url)
        members = {"PAYMENT_API_KEY": "test_sk_local", **urls, **(variables or {})}
        command = [sys.executable, "-m", "everstep", "dev", "--port", str(port), "--no-keys", "--state", str(state)]
        command += [part for name, value in members.items() for part in ("--var", f"{name}:{value}")]
        self.dev = Child("everstep dev", command, f"http://127.0.0.1:{port}", state / "dev.log")
        self.http = httpx.Client(timeout=10, trust_env=False)

    def __enter__(self) -> Self:
        try:
            self.services.start("/ledger")
            self.start_dev()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()
        try:
            self.dev.stop()
        finally:
            self.services.stop()

    def start_dev(self) -> None:
        self.dev.start("/client/v4/accounts/local/workflows")

    def post(self, path: str, body: object = None, **query: str) -> httpx.Response:
        """Send a request to the app, as curl does in the tutorial."""
        return self.http.post(self.dev.url + path, json=body, params=query)

    def status(self, id: str) -> dict[str, Any]:
        """What `GET /orders?id=` says: the app's own view."""
        return self._json(self.dev.url + "/orders", id=id)

    def instance(self, id: str) -> dict[str, Any]:
        """One instance with its steps and attempts, from the control API."""
        view: dict[str, Any] = self._json(
            f"{self.dev.url}/client/v4/accounts/local/workflows/{WORKFLOW}/instances/{id}"
        )["result"]
        return view

    def wait_until(self, id: str, *statuses: str, timeout: float = 20) -> dict[str, Any]:
        """Poll the order's status until it is one of `statuses`."""

        def probe() -> dict[str, Any] | None:
            status = self.status(id)
            return status if status["status"] in statuses else None

        return self.dev.wait_for(f"order {id} to be {' or '.join(statuses)}", probe, timeout)

    def order_fault(self, service: str, **fault: object) -> None:
        self.http.post(self.services.url + "/faults", json={"service": service, **fault}).raise_for_status()

    def ledger(self, id: str) -> dict[str, list[dict[str, Any]]]:
        """Calls and side effects of one order."""
        everything = self._json(self.services.url + "/ledger")
        return {
            kind: [entry for entry in entries if (entry["key"] or "").startswith(f"{id}:")]
            for kind, entries in everything.items()
        }

    def _json(self, url: str, **query: str) -> dict[str, Any]:
        try:
            response = self.http.get(url, params=query)
        except httpx.HTTPError as error:
            raise self.dev.failure(f"GET {url} was not answered: {error!r}") from error
        if response.is_error:
            raise self.dev.failure(f"GET {response.url} was answered {response.status_code}: {response.text[:500]}")
        answer: dict[str, Any] = response.json()
        return answer


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Servers reuse a port whose last owner was killed, so the probe does too.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(preferred: int) -> int:
    """`preferred` if nobody has it, else any free one."""
    if is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that the children end too."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGTERM, signal.SIGHUP)
    before = {sign: signal.signal(sign, interrupt) for sign in signals}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
