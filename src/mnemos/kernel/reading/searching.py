"""One search: a snapshot, the index caught up to it, the rows that may be found, the question as it is meant there, and the strategy's recall."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mnemos.base.clock import Moment
from mnemos.index.disk_vectors import VectorsLost
from mnemos.index.relations import Relations
from mnemos.index.space_index import UNKNOWN, Omitted, SpaceIndex
from mnemos.index.vectors import Mask
from mnemos.kernel.reading.viewing import Viewing
from mnemos.store.base import Filter, Snapshot
from mnemos.text.question import Question, analyse
from mnemos.text.reading import Flag
from mnemos.text.strategy import Recall, Recalls, Strategy

if TYPE_CHECKING:
    from mnemos.base.protocols import Vectors
    from mnemos.kernel.space import Space

_ATTEMPTS = 8
"""Times that a search takes a newer snapshot, because another thread has brought the index further, before it makes an index of its own."""


class Found(NamedTuple):
    """What a search found, in the look at the space that it took: `seqs`, best first, as they stood when the log ended at `position`."""

    viewing: Viewing
    position: int
    seqs: list[int]
    recall: Recall


@contextlib.contextmanager
def found(
    space: Space, text: str, k: int, where: Filter, strategy: Strategy, as_of: int | Moment | None, vector: Vectors | None
) -> Iterator[Found]:
    """Search a space for `text`, as it was at `as_of`; `vector` is the text's embedding where it is given."""
    system = space.system
    recalled = _recalled(space, text, where, strategy, as_of)
    voiced, meant, attempts = None, vector, 0
    looked: tuple[SpaceIndex, tuple[int, int, int], int, Masks, Question] | None = None
    while True:
        if voiced is not None:
            meant = system.embedding.question(voiced)
        with system.snapshot() as snapshot:
            viewing = Viewing.of(space, snapshot)
            position = viewing.shown_position(as_of)
            index = system.index(space.num, snapshot, fresh=attempts == _ATTEMPTS)
            with index.lock:
                if index.position > snapshot.position:  # another thread has seen a newer store: so must this one
                    attempts += 1
                    continue
                system.indexes.catch_up(index, snapshot)
                at = (index.position, snapshot.position, position)
                if looked is not None and looked[0] is index and looked[1] == at:
                    _, _, now, masks, question = looked
                else:
                    now = system.clock()
                    masks = findable(snapshot, index, position, viewing.narrowed(where), now, space.omitted)
                    # Whom and when the question means depends on what may be found; embedding it is not for here, where others wait.
                    question = analyse(text, index.speakers(masks.allowed), now, index.span(masks.allowed))
                if vector is None and question.voiced != voiced:
                    voiced, looked = question.voiced, (index, at, now, masks, question)
                    continue
                queries = system.embedding.align(question.voiced, meant, index.vectors, snapshot)
                try:
                    view = system.view(index, masks, index.vectors.cosines(queries, masks.seen), now, snapshot, recalled)
                    recall = strategy.recall(question, view, k)
                except VectorsLost:
                    if attempts >= _ATTEMPTS:
                        raise
                    attempts, looked = attempts + 1, None
                    continue
                seqs = index.seq.view()[recall.rows].tolist()
            yield Found(viewing, position, seqs, recall)
            return


def _recalled(space: Space, text: str, where: Filter, strategy: Strategy, as_of: int | Moment | None) -> list[tuple[str, str]]:
    """What the store's recaller says to a question, where it has one and the strategy wants it: before anything is locked, since it takes long."""
    if space.system.recaller is None or not isinstance(strategy, Recalls) or not strategy.recalls:
        return []
    from mnemos.kernel.kv.corpus import recalled  # only where it is needed

    return recalled(space, text, where, as_of)


class Masks(NamedTuple):
    """Which rows a search may find (`allowed`), and, where the space has views, which of them may bear on it, with what they say."""

    allowed: Mask
    views: Mask | None = None
    relations: Relations | None = None
    handed: Mask | None = None
    """Those of `views` that pass the filter, too: a strategy may hand them out."""

    @property
    def seen(self) -> Mask:
        """Whatever may bear on the search: what it may find, and the views."""
        return self.allowed if self.views is None else self.allowed | self.views


def findable(snapshot: Snapshot, index: SpaceIndex, position: int, where: Filter, now: int, omitted: Omitted | None = None) -> Masks:
    """What a search at `position` may find. Views are found where their type is asked for; the others are there for strategies, whatever else
    the caller asks for, as far as the caller may read them and all that they were made of. The caller holds the index's lock."""
    mask = allowed(snapshot, index, position, where, now, omitted)
    if not index.all_flags & Flag.VIEW:
        return Masks(mask)
    is_view: Mask = (index.flags.view() & Flag.VIEW) != 0
    relations = Relations.of(index, snapshot, is_view)
    seen = allowed(snapshot, index, position, Filter(readers=where.readers, labels=where.labels), now, omitted)
    views = relations.usable(seen, is_view)
    handed = mask & views
    mask &= ~is_view if where.types is None else ~is_view | views
    return Masks(mask, views, relations, handed)


def allowed(snapshot: Snapshot, index: SpaceIndex, position: int, where: Filter, now: int, omitted: Omitted | None = None) -> Mask:
    """The rows that a search at `position` may find, past the `omitted` entries of the log. The caller holds the index's lock."""
    then = snapshot.states_at(index.space, position) if position < snapshot.position else None
    mask = index.visible(position, then, omitted=omitted) & (index.expires_at.view() > now)
    if where.types is not None:
        mask &= index.with_type(where.types)
    if where.tags is not None:
        mask &= index.with_tags(where.tags)
    if where.author is not None:
        mask &= index.with_author(where.author)
    if where.source is not None:
        mask &= index.with_source(where.source)
    if where.since is not None or where.until is not None:
        event, made = index.event_at.view(), index.created_at.view()
        when = np.where(event == UNKNOWN, made, event)
        if where.since is not None:
            mask &= when >= where.since
        if where.until is not None:
            mask &= when < where.until
    if where.valid_at is not None:
        mask &= (index.valid_from.view() <= where.valid_at) & (index.valid_to.view() > where.valid_at)
    if where.readers is not None:
        mask &= index.readable(where.readers)
    if where.labels is not None:
        mask &= index.with_label(where.labels)
    if where.stale is not None:
        mask &= (index.stale.view() <= position) == where.stale
    if where.where:
        mask &= index.with_metadata(where.where, snapshot)
    return mask
