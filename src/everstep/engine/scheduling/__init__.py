"""Which instances are in memory, and when: created, claimed, kept by a lease, deleted in the end."""
