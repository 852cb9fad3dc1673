"""What peers need, installed below `.bench/`: virtual environments and npm prefixes. Touches nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import ROOT

BENCH = ROOT / ".bench"


class UnavailableError(Exception):
    """A peer cannot be had on this machine; the message says why."""


def python_environment(name: str, requirements: Sequence[str]) -> Path:
    """Make the virtual environment `name` with these requirements and return its Python. Raises UnavailableError."""
    folder = BENCH / name / "venv"
    python = folder / "bin" / "python"
    stamp, wanted = folder / "installed", _digest([sys.version, *requirements])
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing {', '.join(requirements)} …", file=sys.stderr)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        venv.create(folder, with_pip=True, clear=True)
    except subprocess.CalledProcessError as error:
        raise UnavailableError("python3 -m venv does not work here") from error
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *requirements], f"pip install {' '.join(requirements)}")
    stamp.write_text(wanted)
    return python


def npm_prefix(name: str, packages: Sequence[str]) -> Path:
    """Install npm packages for `name` and return the folder of their programs. Raises UnavailableError."""
    folder = BENCH / name / "npm"
    programs = folder / "node_modules" / ".bin"
    stamp, wanted = folder / "installed", _digest(packages)
    if stamp.exists() and stamp.read_text() == wanted:
        return programs
    print(f"Installing {', '.join(packages)} …", file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    _run(
        ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages],
        f"npm install {' '.join(packages)}",
    )
    stamp.write_text(wanted)
    return programs


def version_of(python: Path, distribution: str) -> str:
    """The version of a distribution in a virtual environment."""
    code = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _run(command: Sequence[str], shown: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    except FileNotFoundError as error:
        raise UnavailableError(f"`{shown}`: there is no {command[0]} here") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = str(error.stderr or error).strip().splitlines()
        raise UnavailableError(f"`{shown}` failed: {said[-1] if said else error}") from error


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
