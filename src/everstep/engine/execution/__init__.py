"""One instance in memory: its state, its branches and what it asks of the engine around it."""
