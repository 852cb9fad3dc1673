"""Lets the assertions of the conformance suite explain themselves, as those of test modules do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(f"{__package__}.conformance" if __package__ else "conformance")
