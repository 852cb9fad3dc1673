#!/usr/bin/env python3
"""Sets this checkout up in `.venv` and runs it. Needs nothing but Python 3.11 or newer.

python3 run.py demo [--once]     the order pipeline against stand-in services, cut by kill -9 in the middle
python3 run.py test [ARGS ...]   everything that has to hold: lint, types, layers, tests; ARGS go to pytest alone
python3 run.py bench [OPTIONS]   Everstep, its peers and the limits of this machine on the same work; --quick: minutes
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
DEBIAN = VENV / "debian"
EXAMPLE = ROOT / "examples" / "order_pipeline"

CHECKS = [
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
    ["pyright"],
    ["lint-imports"],
    # Once more with every instance put away and replayed after every step.
    ["pytest", "tests/engine", "--replay-every-step", "-q", "-n", "2"],
    ["pytest", "-n", "2"],
]


def main() -> int:
    match sys.argv[1:]:
        case ["demo", *arguments]:
            set_up()
            return run(["python", str(EXAMPLE / "demo.py"), *arguments])
        case ["test", *arguments]:
            set_up()
            unpack_pgbouncer()
            return test(arguments)
        case ["bench", *arguments]:  # sets up what it needs by itself, in `.bench`
            return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, check=False).returncode
        case ["-h" | "--help" | "help", *_]:
            print(__doc__)
            return 0
        case [unknown, *_]:
            print(f"run.py: there is no command {unknown!r}\n\n{__doc__}", file=sys.stderr)
            return 2
        case _:
            print(__doc__, file=sys.stderr)
            return 2


def test(arguments: list[str]) -> int:
    """Run every check and report all that fail, the tests last."""
    if arguments:
        return run(["pytest", *arguments])
    failed = [check for check in CHECKS if run(check)]
    for check in failed:
        print(f"FAILED: {' '.join(check)}", file=sys.stderr)
    return 1 if failed else 0


def set_up() -> None:
    """Make `.venv` with this package, the example's needs and the test tools; nothing when they have not changed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needs = [*project["dependency-groups"]["test"], *_requirements(EXAMPLE / "requirements.txt")]
    stamp, wanted = VENV / "set-up", hashlib.sha256(repr([project["project"], needs]).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    if sys.version_info < (3, 11):
        sys.exit(f"Everstep needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    print("Setting up .venv (once) …", file=sys.stderr)
    try:
        venv.create(VENV, with_pip=True, clear=True)
    except subprocess.CalledProcessError:
        sys.exit("python3 -m venv does not work here; on Debian and Ubuntu: apt install python3-venv")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--editable", str(ROOT), *needs], check=True)
    stamp.write_text(wanted)


def unpack_pgbouncer() -> None:
    """Have Debian's PgBouncer in `.venv`, with the libraries of it that are not installed; needs no rights.

    Where it cannot be had the tests say at their end what they did not prove.
    """
    program = DEBIAN / "usr" / "sbin" / "pgbouncer"
    there = program.exists() or shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if there or not (shutil.which("apt-get") and shutil.which("dpkg")):
        return
    print("Unpacking Debian's PgBouncer (once) …", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for package in ["pgbouncer", *_missing_libraries("pgbouncer")]:
            if subprocess.run(
                ["apt-get", "download", "-q", package], cwd=folder, stdout=sys.stderr, check=False
            ).returncode:
                print("apt-get has no PgBouncer: `apt-get update` may help", file=sys.stderr)
                return
        for archive in Path(folder).glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, DEBIAN], check=True)


def _missing_libraries(package: str) -> list[str]:
    """Return the libraries a package depends on that are not installed."""
    told = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True, check=False).stdout
    needed = [line.partition("Depends: ")[2] for line in told.splitlines() if line.startswith("  Depends: lib")]
    return [one for one in needed if subprocess.run(["dpkg", "-s", one], capture_output=True, check=False).returncode]


def run(command: list[str]) -> int:
    """Run a program of `.venv` in the checkout."""
    print(f"\n$ {' '.join(command)}", file=sys.stderr, flush=True)
    environment = os.environ | {
        "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(VENV),
    }
    return subprocess.run([PYTHON.parent / command[0], *command[1:]], cwd=ROOT, env=environment, check=False).returncode


def _requirements(file: Path) -> list[str]:
    lines = (line.strip() for line in file.read_text().splitlines())
    return [line for line in lines if line and not line.startswith(("#", "everstep"))]


if __name__ == "__main__":
    sys.exit(main())
