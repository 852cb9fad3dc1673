"""Every numeric limit of the product, each with where it comes from; nothing here enforces anything."""

from __future__ import annotations

MIB = 1024 * 1024
DAY_MS = 24 * 60 * 60 * 1000

STEP_NAME_CHARS = 256
"""Characters in a step's name (Cloudflare Workflows, inventory §1.4)."""
EVENT_TYPE_CHARS = 100
"""Characters in an event's type (inventory §1.3.8)."""
INSTANCE_ID_CHARS = 100
"""Characters in an instance's id (inventory §2.1)."""
WORKFLOW_NAME_CHARS = 64
"""Characters in a workflow's name (inventory §4.2)."""
VALUE_BYTES = 1 * MIB
"""Bytes of one stored value: a step's result, params, an event's payload (inventory §3.2)."""
STEPS = 10_000
"""Steps of one instance, sleeps not counted (inventory §3.2)."""
STORED_BYTES = 1024 * MIB
"""Bytes one instance may store (inventory §3.2)."""
BATCH = 100
"""Instances in one batch (inventory §2.2)."""
RETENTION_MS = 30 * DAY_MS
"""How long ended instances are kept (inventory §3.2)."""
LONGEST_RETENTION_MS = 365_000 * DAY_MS
"""The longest an ended instance may be kept: Python's dates end before long after."""
TAGS = 100
"""Tags of one instance: each is a row that is written with the instance."""
PAGED_INSTANCES = 10_000
"""Instances a list reaches by the number of a page: all that come before are read for it. A cursor goes on for ever."""
TAG_CHARS = 256
"""Characters in a tag."""
SHORTEST_LEASE_MS, LONGEST_LEASE_MS = 2_000, DAY_MS
"""One late heartbeat of a worker must not cost its lease; instances must not wait for days to be taken over."""
WAIT_MS = 365 * DAY_MS
"""The longest sleep, and the longest wait for an event (inventory §1.3.7)."""
STOPS_IN_A_ROW = 3
"""Stops that may cut the same attempt off, one after another, before it counts: a step must not begin for ever."""
RETRIES = 10_000
"""Retries of one step (inventory §3.2)."""
