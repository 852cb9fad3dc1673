"""Tags of an instance: how many there may be."""

import itertools

import pytest

from everstep.core.errors import InvalidOptionError
from everstep.core.limits import TAGS
from everstep.engine.runtime.params import checked_tags


def test_as_many_tags_as_the_limit_are_taken():
    assert len(checked_tags([f"t{number}" for number in range(TAGS)])) == TAGS


def test_more_tags_are_refused_however_many_there_are():
    with pytest.raises(InvalidOptionError, match="at most 100 tags"):
        checked_tags(map(str, itertools.count()))  # type: ignore[arg-type]  # a caller's mistake
