"""Stand-ins for the payment, inventory and e-mail services, with faults to order and a ledger of everything they did.

    python standins.py --port 8790 [--ledger calls.jsonl]

They treat `Idempotency-Key` as real services do: the same key and body get the first answer again and change nothing.

    POST /charge         {"token", "amount", "currency"} → {"id", "amount"}; the token "tok_declined" → 402
    POST /reservations   {"orderId", "items"}            → {"id"}
    POST /send           {"to", "subject", "body"}       → {"id"}
    POST /faults         see `Fault`
    GET  /ledger         every call and every side effect
    POST /reset          forgets faults, calls and side effects
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Service: TypeAlias = Literal["payments", "inventory", "email"]

EFFECTS: dict[Service, str] = {"payments": "charges", "inventory": "reservations", "email": "emails"}
PREFIXES: dict[Service, str] = {"payments": "ch", "inventory": "rsv", "email": "msg"}
HANG_SECONDS = 3600


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong with the next calls of one service.

    Attributes:
        service: Which service.
        fail_next: How many calls it strikes.
        status: Their answer. With a 2xx status the call does its work first, and only the answer is late or lost.
        delay_ms: How long the answer takes.
        only_id: Strike only calls whose idempotency key starts with this instance id.
        hang: Never answer.
    """

    service: Service
    fail_next: int = 1
    status: int = 503
    delay_ms: int = 0
    only_id: str | None = None
    hang: bool = False

    def strikes(self, service: Service, key: str | None) -> bool:
        meant = self.only_id is None or (key or "").split(":")[0] == self.only_id
        return self.service == service and self.fail_next > 0 and meant


class Call(msgspec.Struct):
    """One call received. `status` is None until it is answered, and for ever if the caller left before."""

    time: float
    service: Service
    key: str | None
    body: dict[str, Any]
    status: int | None = None
    repeat: bool = False


class Effect(msgspec.Struct):
    """One thing that happened in the world: a charge, a reservation or an e-mail."""

    id: str
    time: float
    service: Service
    key: str | None
    body: dict[str, Any]


class Ledger:
    """Everything received and everything done, in memory and, if wanted, line by line in a file."""

    def __init__(self, file: Path | None = None) -> None:
        self.calls: list[Call] = []
        self.effects: list[Effect] = []
        self.faults: list[Fault] = []
        self._file = file

    def reset(self) -> None:
        self.calls, self.effects, self.faults = [], [], []

    def receive(self, service: Service, key: str | None, body: dict[str, Any]) -> Call:
        call = Call(time.time(), service, key, body, repeat=self.effect_of(service, key) is not None)
        self.calls.append(call)
        return call

    def effect_of(self, service: Service, key: str | None) -> Effect | None:
        known = (effect for effect in self.effects if key and (effect.service, effect.key) == (service, key))
        return next(known, None)

    def act(self, call: Call) -> Effect:
        """Do what the call asks for, unless its key says that it has been done."""
        effect = self.effect_of(call.service, call.key)
        if effect is None:
            effect_id = f"{PREFIXES[call.service]}_{secrets.token_hex(4)}"
            effect = Effect(effect_id, time.time(), call.service, call.key, call.body)
            self.effects.append(effect)
            self._append("effect", effect)
        return effect

    def answer(self, call: Call, status: int | None) -> None:
        call.status = status
        self._append("call", call)

    def take_fault(self, service: Service, key: str | None) -> Fault | None:
        fault = next((fault for fault in self.faults if fault.strikes(service, key)), None)
        if fault:
            fault.fail_next -= 1
        return fault

    def view(self) -> dict[str, Any]:
        done = {name: [e for e in self.effects if e.service == service] for service, name in EFFECTS.items()}
        view: dict[str, Any] = msgspec.to_builtins({"calls": self.calls, **done})
        return view

    def _append(self, kind: str, entry: Call | Effect) -> None:
        if self._file is None:
            return
        with self._file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"kind": kind, **msgspec.to_builtins(entry)}) + "\n")


def create_app(ledger: Ledger) -> Starlette:
    """The three services and their controls as one ASGI app."""

    async def show(_: Request) -> Response:
        return JSONResponse(ledger.view())

    async def reset(_: Request) -> Response:
        ledger.reset()
        return JSONResponse({"reset": True})

    async def add_fault(request: Request) -> Response:
        try:
            fault = msgspec.json.decode(await request.body(), type=Fault)
        except msgspec.MsgspecError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        ledger.faults.append(fault)
        return JSONResponse(msgspec.to_builtins(fault))

    def service(name: Service) -> Any:
        async def endpoint(request: Request) -> Response:
            return await serve(ledger, name, request)

        return endpoint

    return Starlette(
        routes=[
            Route("/charge", service("payments"), methods=["POST"]),
            Route("/reservations", service("inventory"), methods=["POST"]),
            Route("/send", service("email"), methods=["POST"]),
            Route("/faults", add_fault, methods=["POST"]),
            Route("/ledger", show),
            Route("/reset", reset, methods=["POST"]),
        ]
    )


async def serve(ledger: Ledger, service: Service, request: Request) -> Response:
    """Receive one call, let it be struck by a fault if one is due, and answer it."""
    try:
        body = msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    call = ledger.receive(service, request.headers.get("idempotency-key"), body)
    fault = ledger.take_fault(service, call.key)
    status, answer = handle(ledger, call, fault)
    if fault and not await waits(request, HANG_SECONDS if fault.hang else fault.delay_ms / 1000):
        ledger.answer(call, None)
        return Response(status_code=499)
    ledger.answer(call, status)
    return JSONResponse(answer, status_code=status)


async def waits(request: Request, seconds: float) -> bool:
    """Let `seconds` pass; False if the caller left meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if await request.is_disconnected():
            return False
        await asyncio.sleep(min(left, 0.05))
    return True


def handle(ledger: Ledger, call: Call, fault: Fault | None) -> tuple[int, dict[str, Any]]:
    """Decide the answer, doing the work first where there is any."""
    before = ledger.effect_of(call.service, call.key)
    if fault and not 200 <= fault.status < 300:
        return fault.status, {"error": "a fault was ordered"}
    if before and before.body != call.body:
        return 422, {"error": f"idempotency key {call.key!r} was used before with another body"}
    if call.body.get("token") == "tok_declined":
        return 402, {"error": "the card was declined"}
    effect = ledger.act(call)
    answer = {"id": effect.id}
    if call.service == "payments":
        answer["amount"] = effect.body.get("amount", 0)
    return (fault.status if fault else 200), answer


def main() -> None:
    parser = argparse.ArgumentParser(description="Stand-ins for the payment, inventory and e-mail services.")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--ledger", type=Path, help="append every call and side effect to this file, as JSON lines")
    options = parser.parse_args()
    app = create_app(Ledger(options.ledger))
    print(f"payments, inventory and e-mail at http://127.0.0.1:{options.port}  (GET /ledger, POST /faults)", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
