"""What becomes of the other sources of a view that is forgotten with one of them: their strategy is to look at them again."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from mnemos.base.lineage import VIEW_OF
from mnemos.store.sqlite_write import Writer
from mnemos.text.registry import STRATEGIES


def lost_views(space: int, strategy: str) -> str:
    """The setting that lists the ids of memories of a space that have lost a view of a strategy."""
    return f"consolidated/{space}/{strategy}/lost"


def note_losses(transaction: Writer, family: Sequence[UUID]) -> None:
    """Note which memories outlive views of them that are about to be forgotten."""
    gone = set(family)
    lost: dict[str, set[str]] = {}
    for cube in family:
        standing = transaction.standing(cube)
        if standing is None:
            continue
        left = {
            edge.parent for edge in transaction.derivations(cube)
            if edge.child == cube and edge.version == standing.version and edge.relation == VIEW_OF and edge.parent not in gone
        }  # fmt: skip
        strategy = transaction.versions([standing.seq])[standing.seq].content.metadata.get("strategy") if left else None
        if isinstance(strategy, str) and strategy in STRATEGIES:
            lost.setdefault(lost_views(standing.space, strategy), set()).update(map(str, left))
    for name, ids in lost.items():
        transaction.set_setting(name, sorted(ids.union(transaction.setting(name) or ())))
