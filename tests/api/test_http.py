"""The responses of `fetch`."""

from __future__ import annotations

import pytest

from everstep import Response


def test_a_response_takes_its_status_under_the_name_of_the_original() -> None:
    response = Response("Not found", status=404)
    assert (response.status_code, response.body) == (404, b"Not found")


def test_a_response_takes_its_status_under_the_name_of_starlette() -> None:
    assert Response("Not found", 404).status_code == Response("Not found", status_code=404).status_code == 404


def test_a_response_has_no_status_but_200_when_none_is_given() -> None:
    assert Response(b"fine", headers={"x-shop": "1"}).status_code == 200


def test_a_body_that_is_a_dict_is_told_how_to_become_json() -> None:
    with pytest.raises(TypeError, match=r"text or bytes, got dict; for JSON write Response.json\(value\)"):
        Response({"id": 1})


def test_a_status_in_a_dict_is_told_how_to_be_written() -> None:
    with pytest.raises(TypeError, match=r"got \{'status': 404\}; write Response\(body, status=404\)"):
        Response("Not found", {"status": 404})  # type: ignore[arg-type]
