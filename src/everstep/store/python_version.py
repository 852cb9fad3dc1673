"""The version of Python that a history is begun by, as it is kept with an instance."""

from __future__ import annotations

import sys

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The minor version that this process runs on: between minor versions asyncio changes."""
