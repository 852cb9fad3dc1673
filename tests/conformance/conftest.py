"""The machines of the engine's tests, on virtual time; everything else here is the public API."""

from __future__ import annotations

from engine.conftest import _small_heap, disk, held, running, unheard

__all__ = ["_small_heap", "disk", "held", "running", "unheard"]
