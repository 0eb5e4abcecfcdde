"""Whole prompts that a space's language model has read: what a new prompt begins with, chunk by chunk, is taken from them to the token.

A chunk is a KV memory of kind "kv" under the digest of its tokens and all before them (`mnemos.activation.prefixes`). It is derived from the chunk
before it, and from the memories whose texts begin in it: so it is forgotten, with all that follow, when one of those is, and stale when one changes.
Which memories these are say the caller, the pieces of the prompt (`asked`), and what was handed out to the caller last and stands in it. For others
forgetting looks by itself (`mnemos.kernel.prompted`); so a chunk says its words.
Each space has its own, and each principal in it: what others have asked is neither found nor looked at, and has other bytes in the store.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.activation.prefix_places import Chunk
from mnemos.activation.prefixes import PrefixStore
from mnemos.base.clock import optional_datetime
from mnemos.base.cube import Content, Link
from mnemos.base.errors import Invalid, NotFound
from mnemos.base.lineage import DERIVED_FROM, KV_OF
from mnemos.base.protocols import LanguageModel
from mnemos.kernel.kv.asked import Prompt, asked
from mnemos.kernel.kv.quotas import housed
from mnemos.kernel.kv.reading import stored
from mnemos.kernel.kv.tier import TIER, KVTier, in_use, is_over, prompt_of, size_of
from mnemos.kernel.lineage import KV, PROMPT, readings
from mnemos.kernel.prompted import Traces, Words, forgettings
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.rights.governance import LABELS, label_level
from mnemos.models.local.origin import claim
from mnemos.store.base import Filter, Snapshot, VersionRow

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory
    from mnemos.activation.policy import Policy
    from mnemos.kernel.space import Space

CHUNK = 64
"""Tokens of a chunk: what follows the last whole one of a prompt is not kept."""
_MARGIN = 4
"""Characters by which a text may begin before the place where it was found: tokens join what stands side by side."""
_NEVER = 2**63
_LOOK = 200
"""Characters of a text by which its place is found."""
_LEAD = 8
"""Tokens before some others that are decoded with them, and then left out: a character may take several."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A prompt of `tokens`, the first of which `memory` holds already: its owner goes on from there, and `rest` is what is still to be read."""

    memory: KVMemory
    tokens: list[int]
    rest: list[int]
    shown: tuple[tuple[UUID, str], ...] = ()
    """The memories that it is known to hold, each with its text as it stands there."""
    forgettings: int = 0
    """How often something of the space was forgotten before."""

    @property
    def sources(self) -> tuple[str, ...]:
        """The ids of the memories that it is known to hold, without anybody having named them; none where its words are of nobody."""
        return tuple(dict.fromkeys(str(cube) for cube, _ in self.shown))

    @property
    def taken(self) -> int:
        """How many tokens need not be read."""
        return len(self.tokens) - len(self.rest)


class Prompts:
    """The prompts of a space, as far as the caller may see them. Safe to use from many threads."""

    def __init__(self, space: Space, tier: KVTier, model: LanguageModel) -> None:
        self._space, self._tier, self._model = space, tier, model
        self._lock = threading.RLock()
        self._place = _Rows(space, model)
        portion = getattr(model, "portion", None) or 1
        self._store = PrefixStore(self._place, model.fingerprint, f"{space.name}\n{space.system.principal or ''}", CHUNK, portion=portion)

    @property
    def fingerprint(self) -> str:
        """Of the model that reads them."""
        return self._model.fingerprint

    def begin(self, prompt: Prompt, policy: Policy) -> Begun:
        """See `KVShelf.prefix`."""
        forgettings = self._forgettings()
        made = asked(self._model, prompt)
        tokens = made.tokens
        with self._lock:
            self._store.refresh()
            alike = tokens if self._turned_alike(tokens) else []
            memory, known = self._store.take(self._model.module, alike, policy)
            used = [self._place.rows[key] for key in self._store.match(tokens[:known]).keys]
        scheduler = self._space.system.scheduler
        for row in used:
            scheduler.adopt(TIER, self._tier.key(row), size_of(row))
            scheduler.use(TIER, self._tier.key(row), size_of(row))
        self._tier.let_go(self._space.system)
        return Begun(housed(self._space, memory), tokens, tokens[known:], self._shown(tokens, made.shown), forgettings)

    def begins(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens are kept."""
        with self._lock:
            self._store.refresh()
            return self._store.match(tokens).length

    def keep(self, tokens: Sequence[int], memory: KVMemory, sources: Iterable[UUID], begun: Begun | None = None) -> int:
        """See `KVShelf.keep`. `begun`: what `begin` said of the prompt; None: it is as if it began now."""
        claim(memory, self._model.module)
        whole = tokens[: len(tokens) // CHUNK * CHUNK]
        if not whole or len(memory.managed) != len(memory.layers):  # layers with a sliding window do not hold the beginning any more
            return 0
        if not self._turned_alike(tokens):
            return 0
        with self._lock:
            self._store.refresh()
            held = [*self._texts(sources), *(self._shown(tokens, ()) if begun is None else begun.shown)]
            self._place.prompt = list(tokens), [(_place_of(self._model, tokens, text), cube) for cube, text in held]
            self._place.forgettings = self._forgettings() if begun is None else begun.forgettings
            stored = 0
            with contextlib.suppress(_Overtaken):
                stored = self._store.put(whole, memory)
            written = self._place.taken_up()
        for id, size in written:
            self._space.system.scheduler.adopt(TIER, id, size)
        self._tier.let_go(self._space.system)
        return stored

    def _turned_alike(self, tokens: Sequence[int]) -> bool:
        """Whether shorter prompts have the same keys: a LongRoPE model turns those of long ones differently."""
        switch = getattr(self._model, "switch", None)
        return switch is None or len(tokens) <= switch

    def _forgettings(self) -> int:
        with self._space.system.snapshot() as snapshot:
            return forgettings(snapshot, self._space.num)

    def _texts(self, sources: Iterable[UUID]) -> list[tuple[UUID, str]]:
        with self._space.system.snapshot() as snapshot:
            seen = ((cube, *viewed(self._space, snapshot, cube)) for cube in sources)
            return [(cube, viewing.text(row)) for cube, viewing, row in seen]

    def _shown(self, tokens: Sequence[int], said: Sequence[tuple[UUID, str]]) -> tuple[tuple[UUID, str], ...]:
        """The memories that a prompt says it holds, and those that were handed out to the caller and stand in it."""
        handed = self._space.system.handed.to(self._space.num, self._space.system.principal)
        for cube, _ in said:
            handed.pop(cube, None)
        if not handed:
            return tuple(said)
        words = Words(said_between(self._model, tokens, 0, len(tokens)) or "")
        found = [(cube, how) for cube, how in handed.items() if Traces([how.words]).within(words)]
        out = list(said)
        with self._space.system.snapshot() as snapshot:
            for cube, how in found:
                with contextlib.suppress(NotFound):
                    if viewed(self._space, snapshot, cube)[1].content.version == how.version:
                        out.append((cube, how.words))
        return tuple(out)


class _Rows:
    """The place of chunks that is the store: each a memory, its tensors a payload."""

    def __init__(self, space: Space, model: LanguageModel) -> None:
        self._space, self._model, self._fingerprint = space, model, model.fingerprint
        self.rows: dict[str, VersionRow] = {}
        self.prompt: tuple[list[int], list[tuple[int, UUID]]] = [], []
        """The one that is written: its tokens, and at which of them which memory's text begins."""
        self.forgettings = 0
        """How often something of the space was forgotten before the prompt was read."""
        self._hidden: dict[str, list[VersionRow]] = {}
        """Chunks that are stale or set aside: one that is written takes their place."""
        self._written: list[tuple[str, int]] = []
        self._looked: tuple[int, int] | None = None
        """The log's position when it was looked at last, and the time at which the first chunk is over."""

    def keys(self) -> list[str]:
        now = self._space.system.clock()
        with self._space.system.snapshot() as snapshot:
            if self._looked is not None and self._looked[0] == snapshot.position and now < self._looked[1]:
                return list(self.rows)
            self.rows, self._hidden = {}, {}
            viewing = Viewing.of(self._space, snapshot)
            for found in readings(snapshot, self._space.num, viewing.narrowed(Filter()).readers):
                if (about := prompt_of(found)) is None or found.content.fingerprint != self._fingerprint:
                    continue
                try:
                    row = viewing.current(found.content.id)
                except NotFound:
                    continue
                if row.stale is None and in_use(snapshot, row) and not is_over(row, now):
                    self.rows[about["key"]] = row
                else:
                    self._hidden.setdefault(about["key"], []).append(row)
            ends = [row.content.expires_at for row in self.rows.values() if row.content.expires_at is not None]
            self._looked = snapshot.position, min(ends, default=_NEVER)
        return list(self.rows)

    def describe(self, key: str) -> tuple[Mapping[str, Any], int]:
        row = self.rows[key]
        return prompt_of(row) or {}, size_of(row)

    def read(self, key: str) -> bytes:
        try:
            return self._space.system.store.blobs.get(str(self.rows[key].content.blob))
        except (KeyError, NotFound) as error:
            raise FileNotFoundError(self.name(key)) from error

    def write(self, chunk: Chunk, data: bytes) -> None:
        tokens, begins = self.prompt
        end = chunk.start + len(chunk.tokens)
        starting = [self._content(cube) for cube in dict.fromkeys(cube for place, cube in begins if chunk.start <= place < end)]
        before = [self.rows[chunk.parent].content] if chunk.parent else []
        links = [Link(content.id, content.version, KV_OF) for content in starting]
        links += [Link(content.id, content.version, DERIVED_FROM) for content in before]
        said, after = (said_between(self._model, tokens, *part) for part in ((chunk.start, end), (end, end + CHUNK)))
        about = {"key": chunk.key, "parent": chunk.parent, "start": chunk.start, "tokens": list(chunk.tokens), "bytes": len(data), "text": said,
                 "after": after}  # fmt: skip
        level = max((label_level(content.sensitivity) for content in (*starting, *before)), default=0)
        fields = {
            "type": KV, "metadata": {"tokens": len(chunk.tokens), PROMPT: about}, "derived_from": links,
            "sensitivity": LABELS[level] if level else None,
            "expires_at": optional_datetime(min((c.expires_at for c in (*starting, *before) if c.expires_at is not None), default=None)),
        }  # fmt: skip
        self._forget(self._hidden.pop(chunk.key, []))
        principal = self._space.system.principal
        cube = stored(self._space, data, self._fingerprint, fields, {"read": [] if principal is None else [principal]}, self._check)
        with self._space.system.snapshot() as snapshot:
            self.rows[chunk.key] = Viewing.of(self._space, snapshot).current(UUID(cube.id))
        self._written.append((cube.id, len(data)))

    def _check(self, snapshot: Snapshot) -> None:
        """Raises `_Overtaken` where the prompt may hold what was forgotten while it was read: forgetting could not look into it."""
        if forgettings(snapshot, self._space.num) != self.forgettings:
            raise _Overtaken

    def remove(self, keys: Sequence[str]) -> None:
        self._forget([row for key in keys if (row := self.rows.pop(key, None)) is not None])

    def name(self, key: str) -> str:
        row = self.rows.get(key)
        return f"KV memory {key if row is None else row.content.id}"

    def taken_up(self) -> list[tuple[str, int]]:
        """What was written since this was called last: id and bytes."""
        written, self._written = self._written, []
        return written

    def _content(self, cube: UUID) -> Content:
        with self._space.system.snapshot() as snapshot:
            return viewed(self._space, snapshot, cube)[1].content

    def _forget(self, rows: Sequence[VersionRow]) -> None:
        with self._space.system.snapshot() as snapshot:
            there = [str(row.content.id) for row in rows if (standing := snapshot.standing(row.content.id)) is not None and not standing.frozen]
        if there:
            self._space.forget(there, reason="KV memory let go of")


class _Overtaken(Exception):
    """Something was forgotten while a prompt was read that may hold it."""


def viewed(space: Space, snapshot: Snapshot, cube: UUID) -> tuple[Viewing, VersionRow]:
    """A memory of this space, or of another that the caller may read. Raises `NotFound`."""
    viewing = Viewing.of(space, snapshot)
    try:
        return viewing, viewing.current(cube)
    except NotFound:
        standing = snapshot.standing(cube)
        if standing is None or standing.space == space.num:
            raise
        home = space.system.space_row(snapshot, standing.space)
        there = Viewing(snapshot, home, viewing.access)
        if not viewing.access.may("read", home.settings) or not there.derivable(cube):
            raise
        return there, there.current(cube)


def said_between(model: LanguageModel, tokens: Sequence[int], start: int, end: int) -> str | None:
    """What these tokens of a prompt say; None where that cannot be told: the model has no tokenizer, or its tokenizer did not know a word."""
    if getattr(model, "unknown", None) in tokens[start:end]:
        return None
    lead = tokens[max(0, start - _LEAD) : start]
    try:
        before, both = model.decode(lead), model.decode([*lead, *tokens[start:end]])
    except Invalid:
        return None
    common = next((at for at, (one, other) in enumerate(zip(before, both, strict=False)) if one != other), min(len(before), len(both)))
    return both[common:]


def _place_of(model: LanguageModel, tokens: Sequence[int], text: str) -> int:
    """The token in which a text begins, or one before it; 0 where it is not found. Blanks do not count: tokenizers and templates change them."""

    def said(count: int) -> str:
        return "".join(model.decode(tokens[:count]).split())

    place = said(len(tokens)).find("".join(text.split())[:_LOOK])
    if place < 0:
        return 0
    low, high = 0, len(tokens)
    while low < high:  # the fewest tokens whose text reaches that far
        middle = (low + high) // 2
        if len(said(middle)) + _MARGIN > place:
            high = middle
        else:
            low = middle + 1
    return max(0, low - 1)
