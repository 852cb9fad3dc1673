"""The engine's metrics as Prometheus reads them. Counts nothing itself."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from everstep.control.control import LocalControl
from everstep.control.metrics import Metrics
from everstep.engine.runtime.load import Utilization

_GAUGES: dict[str, tuple[str, str, str]] = {
    "running": ("everstep_instances_running", "Instances at work", "everstep_instances_due"),
    "cached": ("everstep_instances_cached", "Parked instances in memory", ""),
    "creating": ("everstep_creates_in_flight", "Creations under way", "everstep_creates_queued"),
    "threads": ("everstep_step_threads_busy", "Plain functions running in threads", "everstep_step_threads_queued"),
    "threads_lost": (
        "everstep_step_threads_lost",
        "Threads in plain functions whose attempts are over, and that are replaced",
        "",
    ),
}
"""The name of each gauge, what it counts, and the name of the gauge of those that wait for a slot."""
_WAITING = {"running": "Instances due in the database, for any process that has a free slot"}


def metrics_route(control: LocalControl) -> Route:
    """Make the route `/__workflows/-/metrics`; no workflow is called `-`."""

    async def endpoint(_: Request) -> PlainTextResponse:
        return PlainTextResponse(prometheus_text(await control.metrics()), media_type="text/plain; version=0.0.4")

    return Route("/__workflows/-/metrics", endpoint)


def prometheus_text(metrics: Metrics) -> str:
    """Write metrics in Prometheus' text format.

    Example:
        >>> one = Utilization(1, 2)
        >>> print(prometheus_text(Metrics(one, one, one, one, one)).splitlines()[2])
        everstep_instances_running 1
    """
    lines: list[str] = []
    for name, (gauge, text, waiting) in _GAUGES.items():
        load: Utilization = getattr(metrics, name)
        parts = [(gauge, text, load.now), (f"{gauge.removesuffix('_busy')}_max", f"{text}, at most", load.max)]
        if load.waiting is not None:
            parts.append((waiting, _WAITING.get(name, f"{text}: waiting for a slot"), load.waiting))
        for metric, meaning, value in parts:
            lines += [f"# HELP {metric} {meaning}.", f"# TYPE {metric} gauge", f"{metric} {value}"]
    return "\n".join(lines) + "\n"
