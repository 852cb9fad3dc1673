"""The engine's metrics as Prometheus reads them. Counts nothing itself."""

from __future__ import annotations

from msgspec import structs
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from everstep.control.control import LocalControl
from everstep.control.metrics import Metrics
from everstep.engine.runtime.load import Load

_HELP = {
    "running": "Instances at work",
    "resident": "Parked instances in memory",
    "creating": "Creations under way",
    "threads": "Plain functions running in threads",
    "threads_lost": "Threads in plain functions whose attempts are over, and that are replaced",
}
_WAITING = {"running": "Instances due in the database, for any process that has a place"}


def metrics_route(control: LocalControl) -> Route:
    """Make the route `/__workflows/-/metrics`; no workflow is called `-`."""

    async def endpoint(_: Request) -> PlainTextResponse:
        return PlainTextResponse(prometheus_text(await control.metrics()), media_type="text/plain; version=0.0.4")

    return Route("/__workflows/-/metrics", endpoint)


def prometheus_text(metrics: Metrics) -> str:
    """Write metrics in Prometheus' text format.

    Example:
        >>> one = Load(1, 2)
        >>> print(prometheus_text(Metrics(one, one, one, one, one)).splitlines()[2])
        everstep_running 1
    """
    lines: list[str] = []
    for name, load in structs.asdict(metrics).items():
        assert isinstance(load, Load)
        parts = [("", _HELP[name], load.now), ("_limit", f"{_HELP[name]}, at most", load.limit)]
        if load.waiting is not None:
            parts.append(("_waiting", _WAITING.get(name, f"{_HELP[name]}: waiting for their turn"), load.waiting))
        for suffix, text, value in parts:
            metric = f"everstep_{name}{suffix}"
            lines += [f"# HELP {metric} {text}.", f"# TYPE {metric} gauge", f"{metric} {value}"]
    return "\n".join(lines) + "\n"
