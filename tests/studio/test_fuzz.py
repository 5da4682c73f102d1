"""Schemathesis over the live API, in its short form; `python -m tools.studio.fuzz` is the long one."""

from __future__ import annotations

from tools.studio.fuzz import attack


def test_schemathesis(tmp_path):
    """Red: some request gets a 5xx or an answer that the API does not declare, or works without a token."""
    assert attack(tmp_path, 1, "fuzzing,stateful") == []
