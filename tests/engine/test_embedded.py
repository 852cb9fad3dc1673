"""What `Everstep` refuses before anything is opened."""

from __future__ import annotations

import pytest

from everstep import Everstep


@pytest.mark.parametrize("lease", ["1 second", "500 days"])
def test_a_lease_that_no_worker_could_keep_is_refused(lease: str):
    with pytest.raises(ValueError, match=f"from 2 seconds to 1 day, got '{lease}'"):
        Everstep([], database="postgresql://h/d", lease=lease)
