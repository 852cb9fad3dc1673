"""Words that were given up do not come back: each has a term of the field in its place (`docs/design/glossary.md`)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RETIRED = {
    "Road": "WritePipeline", "road": "pipeline", "Lane": "Writer", "lane": "writer", "lanes": "writers",
    "Birth": "InstanceInsert", "birth": "insert", "births": "inserts", "News": "HeartbeatResult",
    "Happening": "HistoryEntry", "happenings": "history", "happened": "events", "milestone": "status_event",
    "milestones": "status_events", "Verb": "TransactionOp", "Verbs": "Operations", "beat": "heartbeat",
    "beaten_at": "last_heartbeat_at", "adopt": "take_over", "adopted": "taken_over", "expel": "fence_workers",
    "lapsed": "expired", "hush": "ignore_result_of", "seal": "cancel_branches", "sealed": "phase ROLLING_BACK",
    "forgive": "cancel_uncounted", "resident": "cached", "contradict": "fail_nondeterministic",
    "AttemptCutOffError": "AttemptInterruptedError", "cut_off": "interrupted", "keep_success": "success_retention_ms",
    "keep_errors": "error_retention_ms", "recovered_position": "progress_at_recovery", "recall": "read_back",
    "receipt": "last_txn", "pass_fence": "check_fencing_token", "pass_over": "skip_txn",
    "leave_note": "insert_invalidation",
    "hand_over": "wake_if_satisfied, or wake", "LONE_GROUPS": "SOLO_GROUPS_BEFORE_INLINE", "Reminders": "LogThrottle",
    "PATIENCE_SECONDS": "OUTAGE_TIMEOUT_SECONDS", "MisfitError": "TypeMismatchError",
    "RefusedError": "UnserializableError",
    "Place": "StepScope", "innermost": "current_attempt", "keep_first_seen": "pin_recorded", "GoOnAt": "ResumeAt",
    "after_cut": "after_interruption", "Program": "WorkflowRegistry", "Places": "AdmissionLimiter",
}  # fmt: skip
"""What is not written any more, without leading underscores, and what is in its place."""
EXCEPT = {
    (
        "engine/execution/outside.py",
        "PATIENCE_SECONDS",
    ),  # how long code that awaits the outside may take to come to rest
}
SOURCES = sorted((ROOT / "src" / "everstep").rglob("*.py"))
STATEMENTS = [path for path in (ROOT / "src" / "everstep").rglob("*.sql") if path.parent.name != "migrations"]


def names_in(path: Path) -> Iterator[str]:
    """Give every name that a module defines or uses."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name


def replacements(names: Iterator[str], file: str) -> set[str]:
    found = {name.lstrip("_") for name in names} & RETIRED.keys()
    return {f"{name}: say {RETIRED[name]}" for name in found if (file, name) not in EXCEPT}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src" / "everstep")))
def test_a_module_uses_the_terms_of_the_glossary(path: Path):
    assert not replacements(names_in(path), str(path.relative_to(ROOT / "src" / "everstep")))


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.name)
def test_statements_use_the_terms_of_the_glossary(path: Path):
    words = re.findall(r"\w+", re.sub(r"--(?! name:).*", "", path.read_text(encoding="utf-8")))
    assert not replacements(iter(words), path.name)


def test_a_retired_word_is_found_wherever_it_is_used(tmp_path: Path):
    module = tmp_path / "module.py"
    module.write_text("from x import Road\n\n\ndef _beat(lane):\n    lane.happenings = forgive(cut_off=1)\n")
    assert {line.partition(":")[0] for line in replacements(names_in(module), "module.py")} == {
        "Road",
        "beat",
        "lane",
        "happenings",
        "forgive",
        "cut_off",
    }
