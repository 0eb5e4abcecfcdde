"""All that a store holds, to be compared: every row of every table, and what searches find."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mnemos.kernel.system import Mnemos


def rows(mem: Mnemos) -> dict[str, list[Any]]:
    """Table → its rows, in the order of their keys."""
    with mem.snapshot() as snapshot:
        db = snapshot._db
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in tables}


def rankings(mem: Mnemos, spaces: Sequence[str], questions: Sequence[str], k: int = 50) -> dict[tuple[str, str], list[tuple[str, int, float]]]:
    """(space, question) → id, version and score of each hit, best first."""
    return {
        (space, question): [(hit.cube.id, hit.cube.version, hit.score) for hit in mem.space(space).search(question, k)]
        for space in spaces
        for question in questions
    }
