"""The listening socket of `everstep dev`: bound once, kept across reloads, and clear about who has the port."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from ipaddress import ip_address
from pathlib import Path

from everstep.core.errors import ConfigError

_INHERITED = "EVERSTEP_LISTEN_FD"


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; after a reload, the one that has been listening all along.

    Raises:
        ConfigError: if the port is taken, naming who has it where the system tells.
    """
    inherited = os.environ.pop(_INHERITED, None)
    if inherited is not None:
        with contextlib.suppress(OSError, ValueError):
            return socket.socket(fileno=int(inherited), proto=socket.IPPROTO_TCP)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol by its name: asyncio sends small answers at once only on sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise ConfigError(_why_not(error, host, port)) from None
    return listener


def on_all_interfaces(listener: socket.socket) -> bool:
    """Whether a socket listens on every interface of the machine."""
    return ip_address(listener.getsockname()[0]).is_unspecified


def url_of(listener: socket.socket, host: str) -> str:
    """Return a URL that a browser on this machine can open, by the host that was asked for where that is possible."""
    address, port = listener.getsockname()[:2]
    if on_all_interfaces(listener):
        host = "::1" if ":" in address else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def pass_to_child(listener: socket.socket) -> None:
    """Let the process that replaces this one take the socket over: requests meanwhile wait in its queue."""
    listener.set_inheritable(True)
    os.environ[_INHERITED] = str(listener.fileno())


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        owner = _owner_of(port)
        return (
            f"port {port} is taken{f' by {owner}' if owner else ''}: stop it, or use another one with --port {port + 1}"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs privileges: use one above 1023 with --port"
    return f"cannot listen on {host}:{port}: {error.strerror}"


def _owner_of(port: int) -> str | None:
    """Name the process that listens on a port, as Linux shows it under /proc."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*") if inodes else ():
        with contextlib.suppress(OSError):
            if any(os.readlink(handle) in inodes for handle in (process / "fd").iterdir()):  # noqa: PTH115  # not a path
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                return f"pid {process.name} ({command[:100]})"
    return None
