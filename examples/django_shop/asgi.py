"""The app, for `everstep dev`."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from engine import es

__all__ = ["application", "es"]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
application = get_asgi_application()
