"""The ASGI side: the user's app, the inspector and the control API."""
