"""From a URL to a store."""

from __future__ import annotations

import subprocess
import sys

OPEN = """
import sys
sys.modules["asyncpg"] = None  # as if it were not installed
from everstep.store.admin.open import open_store
try:
    open_store("postgresql://db/shop", None)
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_missing_driver_is_named_with_how_to_install_it() -> None:
    ran = subprocess.run([sys.executable, "-c", OPEN], capture_output=True, text=True, check=True)

    assert ran.stdout.startswith("StoreError PostgreSQL needs a driver: pip install asyncpg,")
