"""Short names (m1, m2, …) that stand in a prompt for the ids of memories, and the way back."""

from __future__ import annotations

from collections.abc import Iterable


class Aliases:
    """Names `letter`1, `letter`2, … for `ids`, each id once, in order. A model sees no id of the store, and can name none that it was not shown."""

    def __init__(self, ids: Iterable[str], letter: str = "m") -> None:
        self._ids = {f"{letter}{number}": id_ for number, id_ in enumerate(dict.fromkeys(ids), 1)}
        self._aliases = {id_: alias for alias, id_ in self._ids.items()}

    def __len__(self) -> int:
        return len(self._ids)

    def alias(self, id_: str) -> str:
        """The name of an id that was given. Raises `KeyError` for any other."""
        return self._aliases[id_]

    def id(self, alias: object) -> str | None:
        """The id that a model means by `alias`, as `m2`, ` M2 ` or `[m2]`; None where it was shown no such name."""
        return self._ids.get(alias.strip().strip("[]()<>\"'`.").casefold()) if isinstance(alias, str) else None

    def ids(self, aliases: Iterable[object]) -> tuple[list[str], list[str]]:
        """The ids that `aliases` mean, each once, in their order; and those names that mean none."""
        known: dict[str, None] = {}
        unknown: list[str] = []
        for alias in aliases:
            found = self.id(alias)
            if found is None:
                unknown.append(str(alias))
            else:
                known[found] = None
        return list(known), unknown
