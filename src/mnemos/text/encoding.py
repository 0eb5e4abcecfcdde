"""From what a caller adds to what is stored: threads, terms, readings, and documents cut into parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from mnemos.base.clock import from_micros
from mnemos.base.cube import Content, Link
from mnemos.base.lineage import PART_OF, VIEW_OF
from mnemos.index.terms import pack_terms
from mnemos.store.base import Derived, NewVersion
from mnemos.text.chunking import chunk
from mnemos.text.reading import Flag, read

LONGEST_WHOLE = 1400
"""Characters up to which a text is one memory: about what the default embedder reads at once (256 word pieces)."""

SESSION_KEYS = ("session", "session_id", "conversation", "conversation_id", "thread", "thread_id")


def thread_of(content: Content) -> str | None:
    """Which memories stand together in reading order: the turns of a session, the parts of a document; None stands alone."""
    for key in SESSION_KEYS:
        value = content.metadata.get(key)
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return f"session {value}"
    if content.type == "turn":
        return "day " + from_micros(content.event_at).date().isoformat() if content.event_at is not None else "turns"
    return None


def encode(content: Content, new_id: Callable[[], UUID]) -> list[NewVersion]:
    """`content` itself, and, where it is long, its parts: consecutive stretches of its text, each a memory of its own.

    The parts of a document, joined, are its text; the document itself then holds none, and is not searched.
    """
    text = content.text
    if content.kind != "text" or text is None:
        return [NewVersion(content)]
    if len(text) <= LONGEST_WHOLE:
        return [_searchable(content, thread_of(content), None)]
    out = [NewVersion(replace(content, text=None))]
    thread = thread_of(content) or _own_thread(content.id, content.version)
    links = (Link(content.id, content.version, PART_OF), *(link for link in content.derived_from if link.relation == VIEW_OF))  # as its whole is
    for piece in chunk(text):
        part = replace(
            content,
            id=new_id(),
            version=1,
            text=text[piece.start : piece.end],
            parents=(),
            derived_from=links,
            metadata={**content.metadata, "heading": piece.heading} if piece.heading else content.metadata,
        )
        out.append(_searchable(part, thread, content.id))
    return out


def restore(content: Content) -> NewVersion:
    """A stored version again, from its content alone: what was derived from it is derived anew."""
    if content.kind != "text" or content.text is None:
        return NewVersion(content)
    whole = next((link for link in content.derived_from if link.relation == PART_OF), None)
    if whole is None:
        return _searchable(content, thread_of(content), None)
    return _searchable(content, thread_of(content) or _own_thread(whole.id, whole.version), whole.id)


def _own_thread(document: UUID, version: int) -> str:
    """The thread of a document's parts, where the document stands in none itself."""
    return f"document {document} {version}"


def _searchable(content: Content, thread: str | None, part_of: UUID | None) -> NewVersion:
    assert content.text is not None
    reading = read(content.text, type=content.type, author=content.author, event_at=content.event_at)
    view = Flag.VIEW if any(link.relation == VIEW_OF for link in content.derived_from) else 0
    return NewVersion(content, Derived(thread, reading.flags | view, reading.moments or None, pack_terms(terms_text(content)), part_of))


def terms_text(content: Content) -> str:
    """The words that a stored version is found by: its text, and, for a part of a document, the heading that it stands under."""
    part = any(link.relation == PART_OF for link in content.derived_from)
    heading = content.metadata.get("heading") if part else None
    return f"{heading}\n{content.text}" if heading else content.text or ""
