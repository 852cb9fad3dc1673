"""The views. They are plain functions; `es` waits for them."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from engine import es
from workflows import Order


@csrf_exempt
def create(request: HttpRequest, id: str) -> JsonResponse:
    order = es.workflow(Order).create(id=id, params={"items": int(request.GET["items"])})
    return JsonResponse({"id": order.id})


@csrf_exempt
def approve(request: HttpRequest, id: str) -> JsonResponse:
    order = es.workflow(Order).get(id)
    order.send_event(type="order.approval", payload=True)
    return JsonResponse({"output": order.result("10 seconds")})


def show(request: HttpRequest, id: str) -> JsonResponse:
    status = es.workflow(Order).get(id).status()
    return JsonResponse({"status": status.status, "output": status.output})


urlpatterns = [path("orders/<id>/create", create), path("orders/<id>/approve", approve), path("orders/<id>", show)]
