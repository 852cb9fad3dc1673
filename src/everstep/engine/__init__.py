"""Instances come alive: claimed, run step by step, parked and resumed."""
