"""The HTTP API, in the form of Cloudflare's v4 API."""
