"""What the engine stands on: time, the event loop, the registered workflows. No instance is here."""
