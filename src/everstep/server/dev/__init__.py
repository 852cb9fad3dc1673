"""`everstep dev`: the process that serves an app and reloads it."""
