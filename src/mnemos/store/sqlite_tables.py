"""How names and texts stand in the small tables of a SQLite store: as they are, unless the store is sealed (`store.sqlite_sealed`)."""

from __future__ import annotations


class Tables:
    """What the verbs of readers and writers ask for whatever they look up, read or write beside the versions."""

    def _word(self, table: str, name: str) -> str:
        """A name as it stands in a table: the same for the same name."""
        return name

    def _said(self, table: str, stored: str) -> str:
        """The name that stands in a table."""
        return stored

    def _shut(self, where: str, text: str) -> str:
        """A text as it stands in one place."""
        return text

    def _told(self, where: str, stored: str) -> str:
        """The text that stands in one place."""
        return stored
