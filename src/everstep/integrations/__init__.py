"""Everstep's errors as answers of web frameworks: one module for each, imported only by the app that uses it."""
