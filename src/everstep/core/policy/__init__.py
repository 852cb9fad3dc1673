"""How a step is configured, and what is decided from it: retries, delays, the states of a step."""
