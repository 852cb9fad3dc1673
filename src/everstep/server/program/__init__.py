"""The user's program: how it is loaded, and how its `fetch` answers requests."""
