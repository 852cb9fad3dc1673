"""Durable execution for Python: ordinary async code whose steps survive crashes, retries and restarts.

Names are loaded when they are first used, so that importing the package stays cheap and brings no HTTP stack.
"""

from __future__ import annotations
