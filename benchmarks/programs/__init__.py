"""What runs in child processes: one program for each peer, the same works in each."""
