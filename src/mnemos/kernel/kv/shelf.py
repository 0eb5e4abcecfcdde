"""The KV memories of a space: texts that its language model need not read again, put before a prompt when they are needed.

Whether a text is worth keeping so is for the scheduler to say (tier "kv"): it must have been used twice, and its expected uses must save more than
building it costs. What gives way is forgotten as a KV memory; the text stays. A caller may also warm and drop by hand.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.cube import State
from mnemos.base.errors import Conflict, Corrupt, Invalid, NotFound, PermissionDenied, StoreFull, shown
from mnemos.base.ids import parse_id
from mnemos.base.protocols import LanguageModel
from mnemos.kernel.forgetting import Certificate
from mnemos.kernel.kv.ahead import turn
from mnemos.kernel.kv.asked import Prompt, Sources, check_together, ids_of
from mnemos.kernel.kv.entries import Entry, entries, entries_of, seen
from mnemos.kernel.kv.quotas import housed
from mnemos.kernel.kv.reading import READ, UNKEPT, Read, language_model, lending, lent_seconds, loaded, read, tokens_of
from mnemos.kernel.kv.results import Answered, Injected
from mnemos.kernel.kv.shapes import FULL_SHAPE, Shape, shape_of
from mnemos.kernel.kv.tier import TIER, KVTier, is_over, key_of, line_of, readings_of, size_of, tier_of
from mnemos.kernel.life.lifecycle import VISIBLE
from mnemos.kernel.reading.viewing import Viewing
from mnemos.kernel.scheduling import Action
from mnemos.kernel.transforms.transform import TRANSFORMATIONS, Outcome, transform
from mnemos.store.base import Snapshot

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory
    from mnemos.activation.policy import Policy
    from mnemos.kernel.kv.asking import Asking, Told
    from mnemos.kernel.kv.prompts import Begun, Prompts
    from mnemos.kernel.space import Space

if READ.name not in TRANSFORMATIONS.names():
    TRANSFORMATIONS.register(READ)


class KVShelf:
    """Get it as `space.kv`; safe to use from many threads."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._kept: Prompts | None = None

    @property
    def _tier(self) -> KVTier:
        """Asked for anew at each use: it learns what is in the store at the first, and after transactions."""
        return tier_of(self.space.system)

    def warm(
        self, ids: Iterable[str | UUID] | str | UUID, *, uses: int | None = None, policy: str | None = None
    ) -> list[Outcome]:  # fmt: skip
        """Lets the model read texts, and keeps what comes out. `uses`: how often each will be needed; where that does not save what building costs,
        it is declined. None: keep it in any case; of the others, those that are worth least give way. `policy`: the form in which it is kept, such as
        "shadowkv:near=0.125"; None: the store's (`kv_policy`). What is kept in that form and fits already is left alone.

        Raises `ModelUnavailable`, `NotFound`, `Conflict` for a text that is out of use, `PermissionDenied`, `StoreFull`, `QuotaExceeded` where it
        does not fit beside what is frozen, and `Invalid` for a policy that leaves what one request needs.
        """
        model, shape, outcomes = language_model(self.space.system), self._shape(policy).kept(), []
        shape.metadata()
        for id in [ids] if isinstance(ids, (str, UUID)) else ids:
            source = parse_id(id)
            self._text(source)
            outcomes += self._warm(model, source, uses, shape, stays=uses is None)
        self._tier.let_go(self.space.system)
        return outcomes

    def warm_later(
        self, ids: Iterable[str | UUID] | str | UUID, *, uses: int | None = None, policy: str | None = None
    ) -> int:  # fmt: skip
        """Lets a job do what `warm` does, and gives its number: it outlives a restart, runs where the model is, and acts for the caller. What cannot
        be read when its time has come is left out. Raises what `warm` does of the texts and the policy as they are now."""
        from mnemos.kernel.kv.warming import warm_later  # only where it is needed

        model, sources = language_model(self.space.system), [parse_id(id) for id in ([ids] if isinstance(ids, (str, UUID)) else ids)]
        shape = self._shape(policy).kept()
        shape.metadata()
        for source in sources:
            self.space.admit("write")
            self._text(source)
        return warm_later(self.space, model.fingerprint, sources, uses, str(shape))

    def _shape(self, policy: str | Policy | None) -> Shape:
        """The form that is asked for, or that of the store."""
        return Shape.of(self.space.system.kv_policy if policy is None else policy)

    def _warm(self, model: LanguageModel, source: UUID, uses: int | None, shape: Shape, *, stays: bool) -> list[Outcome]:
        """`stays`: whether it is to have room in any case, and not only where the scheduler has made some."""
        with self._tier.building(self.space.system):  # or two threads would keep the same text twice
            wanted, there = (model.fingerprint, shape.digest), entries_of(self.space, source)
            mine = [entry for entry in there if not entry.stale and (entry.fingerprint, entry.digest) == wanted]
            if any(entry.state == "ready" for entry in mine):
                return []
            if (cold := next((entry for entry in mine if entry.state == State.ARCHIVED.word), None)) is not None:
                self.space.restore(cold.id)
                self._account(source, shape, stays=stays)
                return []
            if stays and shape.full:  # how many bytes another form takes is known when it is made
                self._tier.make_room(self.space.system, model.kv_bytes(len(tokens_of(model, self._text(source))[0])))
            options: dict[str, Any] = {} if uses is None else {"reuse": uses}
            outcome = transform(self.space, "read", [source], options=options if shape.full else {**options, "policy": str(shape)})
            if outcome.accepted:
                self._replaced(source, keep=None if outcome.cube is None else outcome.cube.id)
                self._account(source, shape, stays=stays)
            return [outcome]

    def _account(self, source: UUID, shape: Shape, *, stays: bool) -> None:
        """Tells the scheduler what is kept of a text in this form."""
        scheduler, key = self.space.system.scheduler, key_of(source, shape.digest)
        with self.space.system.snapshot() as snapshot:
            size = sum(size_of(row) for row in readings_of(snapshot, source) if self._tier.key(row) == key)
        self._tier.keep(key)
        if scheduler.holds(TIER, key):
            scheduler.resized(TIER, key, size, stays)
        else:
            scheduler.adopt(TIER, key, size, stays)

    def take(
        self, ids: Sequence[str | UUID], mode: str | None = None, share: float | None = None, *, archived: bool = False,
        policy: str | Policy | None = None,
    ) -> Injected:  # fmt: skip
        """The texts as one memory that a prompt goes on from, in this order; a copy, which nothing else sees. What is kept is taken from there, what
        is not is read now, and kept from its second use on where that pays and the caller may write. A single text is exact; several are put together
        as `mode` says ("rebuilt", "rerotated", "blended", `mnemos.activation.fragments`). `archived`: whether texts of the archive are taken, too.

        `policy`: the form; None: the store's (`kv_policy`). In another form than the full one several texts are always read together ("rebuilt"),
        and the memory knows whose tokens are whose (`mnemos.activation.shadow.sources`). A policy under which nothing is kept, since what it leaves
        is of one request, is held so from here on: it begins with what is kept in full, and chooses when the prompt has been read.

        Raises `ModelUnavailable`, `NotFound`, `Conflict` for a text that is out of use, `Invalid`, and where something is to be kept `StoreFull`,
        `QuotaExceeded`.
        """
        self.space.admit("read")
        return self.taken(ids, mode, share, archived=archived, policy=policy)

    def taken(
        self, ids: Sequence[str | UUID], mode: str | None, share: float | None, *, archived: bool = False, policy: str | Policy | None = None
    ) -> Injected:  # fmt: skip
        """What `take` gives, as part of a call that was let in already."""
        from mnemos.activation.fragments import MODES, SHARE, Fragment, put_together, together
        from mnemos.activation.published import held_under

        if mode is not None and mode not in MODES:
            raise Invalid(f"texts are put together as one of {', '.join(MODES)}, not as {shown(mode)}")
        if not ids:
            raise Invalid("take: give at least one text")
        model, asked = language_model(self.space.system), self._shape(policy)
        shape = asked if asked.against is None else FULL_SHAPE  # the form in which what is used is kept
        if len(ids) > 1 and not shape.full:
            if mode not in (None, "rebuilt"):
                raise Invalid(f"texts that the policy {shape.name!r} keeps are not put together as {shown(mode)}: keys that it has stored cannot be "
                              "turned, and are blended with nothing; take them as \"rebuilt\", or with policy=\"full\"")  # fmt: skip
            done = read(model, [(str(parse_id(id)), self._text(parse_id(id), archived)) for id in ids], shape)
            self._noted(ids)
            return Injected(housed(self.space, done.memory), list(done.tokens), 0, len(done.tokens))
        given, taken, known = [], 0, 0
        with turn(self.space, self._tier, [parse_id(id) for id in ids]):
            for id in ids:
                done, kept = self._given(model, parse_id(id), archived, shape)
                given.append(done)
                taken, known = taken + kept * len(done.tokens), known + len(done.tokens)
            self._tier.let_go(self.space.system)
        self._noted(ids)
        memory, tokens = given[0].memory, list(given[0].tokens)
        if len(given) > 1:
            fragments = [Fragment(one.tokens, one.memory, one.head) for one in given]
            check_together(model, len(together(fragments)), mode)
            memory, tokens = put_together(model.module, fragments, mode or "blended", SHARE if share is None else share), together(fragments)
        if asked is not shape:
            memory = held_under(model, tokens, memory, asked.policy)
        return Injected(housed(self.space, memory), tokens, taken, known - taken)

    def _noted(self, ids: Sequence[str | UUID]) -> None:
        """To take a text is a use of it."""
        if self.space.position is None:
            self.space.system.tracker.note([parse_id(id) for id in ids], self.space.system.clock())

    def entries(self) -> list[Entry]:
        """All KV memories of the space that the caller may see, oldest first."""
        self.space.admit("read")
        tier_of(self.space.system)  # what is looked at is counted, too
        return entries(self.space)

    def inspect(self, id: str | UUID) -> Entry:
        """One of them; of those of one text, the oldest. Raises `NotFound`."""
        return self._named(id)[0]

    def _named(self, id: str | UUID) -> list[Entry]:
        """That of this id, or all of the text of this id. Raises `NotFound`."""
        wanted = str(parse_id(id))
        if found := [entry for entry in self.entries() if wanted in (entry.id, entry.source)]:
            return found
        raise NotFound(f"space {self.space.name!r} has no KV memory {wanted}, and none of a text of that id; `mnemos kv list` shows those there are")

    def drop(self, id: str | UUID) -> Certificate:
        """Lets go of a KV memory, named by its own id, or of all those of a text, which stays; of a part of a prompt with all that follow. Raises
        `NotFound`, `Frozen`, `PermissionDenied`."""
        entries = {entry.id: entry for entry in self._named(id)}
        certificate = self.space.forget(list(entries), reason="KV memory let go of")
        for cube in certificate.cubes:
            entry = entries.get(cube.id)
            key = key_of(entry.source, entry.digest) if entry and entry.source and entry.fingerprint == self._tier.fingerprint else cube.id
            self.space.system.scheduler.drop(TIER, key)
            self._tier.keep(key)  # what is kept of the text later is another
        return certificate

    # -- whole prompts --
    def prefix(self, prompt: Prompt, *, policy: str | Policy = "full") -> Begun:
        """A prompt with what of its beginning was read before, to the token: a memory of its own, and what is still to be read, which is one token at
        least. A prompt is a text, messages, tokens, or pieces: texts, memories, hits and contexts, joined as they are; the `content` of a message may
        be pieces, too. The result's `sources` are the memories among these, and those that a search, a context or `get` of this space gave the caller
        lately and whose words stand in the prompt. `policy`: under which the memory goes on; what that has to see being read counts as not read.
        Raises `ModelUnavailable`, `Invalid`, `PermissionDenied`."""
        self.space.admit("read")
        return self.begun(prompt, policy)

    def begun(self, prompt: Prompt, policy: str | Policy = "full") -> Begun:
        """What `prefix` gives, as part of a call that was let in already."""
        return self._prompts().begin(prompt, Shape.of(policy).policy)

    def keep(self, prompt: Begun | Sequence[int], memory: KVMemory | None = None, sources: Sources = ()) -> int:
        """Keeps what a memory that no policy has shaped yet has read of a prompt (what `prefix` gave, or its tokens and the memory), in whole chunks;
        gives how many tokens were not kept yet. `sources`: memories whose texts it contains, besides those that `prefix` found: what follows the
        beginning of one of them is forgotten with it, and out of use when it changes. What nobody named is forgotten, too, where its words are found
        in the prompt; and where a memory of the space was forgotten since `prefix`, nothing is kept. Where room is short, what is worth least gives
        way, which may be this.

        Raises `ModelUnavailable`, `NotFound`, `Invalid` (also inside a transaction), `PermissionDenied`, `StoreFull`, `QuotaExceeded`."""
        if self.space.system.store.inside:
            raise Invalid("a prompt is kept chunk by chunk, and not inside a transaction: keep it when that has ended")
        if isinstance(prompt, Sequence):
            if memory is None:
                raise Invalid("keep: give the memory that has read these tokens, or what `prefix` gave")
            return self._prompts().keep(prompt, memory, ids_of(sources))
        return self._prompts().keep(prompt.tokens, prompt.memory if memory is None else memory, ids_of(sources), prompt)

    def generate(
        self, prompt: Prompt, *, sources: Sources = (), keep: bool = True, policy: str | Policy = "full", **settings: Any
    ) -> Answered:  # fmt: skip
        """What the store's language model says to a prompt (see `prefix`), as its own `generate` does (`settings` are its), but for what was read
        before, which is not read again. The prompt is kept (see `keep`) where the caller may write and there is room, unless `keep` is False, or
        inside a transaction. The result is that of `generate`, with `sources` and `taken`.

        `policy`: under which the model goes on, such as "shadowkv:near=0.125" or "snapkv:share=0.125". What is kept is always what was read, in full;
        when the prompt has been read, the policy leaves of this request's copy what it leaves. The answer is the same as if nothing had been kept.
        One that reads otherwise than in full (UNComp's deleted heads, sparse reading) takes nothing of what is kept, and adds nothing.
        """
        from mnemos.activation.published import read_on, reads_in_full, with_tokens

        model, shape = language_model(self.space.system), Shape.of(policy)
        begun, named = self.prefix(prompt, policy=shape.policy), ids_of(sources)
        if keep and reads_in_full(shape.policy) and self.may_write() and not self.space.system.store.inside:
            context = model.prefill(begun.rest, begun.memory) if shape.full else read_on(model, begun.rest, begun.memory)
            with contextlib.suppress(StoreFull):  # to keep it is a help, and no more: the answer does not wait for room
                self.keep(begun, sources=named)
            begun.memory.settle()
        else:
            context = model.prefill(begun.rest, begun.memory)
        known = tuple(dict.fromkeys([*map(str, named), *begun.sources]))
        return Answered(model.generate((), with_tokens(context, begun.tokens), **settings), known, begun.taken)

    def ask(self, question: str, how: Asking | None = None, *, where: Mapping[str, Any] | None = None, **settings: Any) -> Told:
        """What the store's language model says to a question, after a context of what the space knows (`space.context`, with the conditions `where`),
        of which it need not read what it has read before. `how` says the order of the sources, the budget, and in which words it is asked
        (`mnemos.kernel.kv.asking`); `settings` are those of the model's `generate`. The result is that of `generate`, with `reused`: the sources,
        the tokens that were not read again, and the seconds that saved.

        Raises `ModelUnavailable`, `Invalid`, `PermissionDenied`, and where something is to be kept `QuotaExceeded`.
        """
        from mnemos.kernel.kv.asking import Asking, ask  # only where it is needed: a context reads word lists

        return ask(self, question, Asking() if how is None else how, where or {}, settings)

    def given(self, source: UUID) -> tuple[Read, bool]:
        """A text by itself as the model has read it, in full, and whether that was kept. Raises what `take` does."""
        return self._given(language_model(self.space.system), source, False, FULL_SHAPE)

    def begins(self, tokens: Sequence[int]) -> int:
        """How many of a prompt's first tokens are kept, of what the caller asked before."""
        return self._prompts().begins(tokens)

    def _prompts(self) -> Prompts:
        from mnemos.kernel.kv.prompts import Prompts  # torch, only where it is needed

        model = language_model(self.space.system)
        if self.space.system.store.inside:  # what others have may be locked by one who waits for this transaction to end
            return Prompts(self.space, self._tier, model)
        if self._kept is None or self._kept.fingerprint != model.fingerprint:
            self._kept = Prompts(self.space, self._tier, model)
        return self._kept

    # -- texts --

    def _text(self, source: UUID, archived: bool = False) -> str:
        """The text of a memory that is in use. Raises `NotFound`, `Conflict`."""
        with self.space.system.snapshot() as snapshot:
            return self._text_in(snapshot, source, archived)

    def _priority(self, source: UUID) -> float:
        """How much a text matters beyond its uses."""
        with self.space.system.snapshot() as snapshot:
            return Viewing.of(self.space, snapshot).current(source).content.priority or 0.0

    def _text_in(self, snapshot: Snapshot, source: UUID, archived: bool) -> str:
        viewing = Viewing.of(self.space, snapshot)
        row = viewing.current(source)
        if row.state not in VISIBLE and not (archived and row.state in (State.ARCHIVED, State.MERGED)):
            do = "restore it, or take it with archived=True" if row.state in (State.ARCHIVED, State.MERGED) else "it is not given to a model"
            raise Conflict(f"cube {source} is {row.state.word}: {do}")
        if self.space.position is None and is_over(row, self.space.system.clock()):
            raise Conflict(f"cube {source} is expired: it is not given to a model")
        return viewing.text(row)

    def _given(self, model: LanguageModel, source: UUID, archived: bool, shape: Shape) -> tuple[Read, bool]:
        """The text as the model has read it, in this form, and whether that was kept."""
        system, key, line = self.space.system, key_of(source, shape.digest), line_of(self.space)
        scheduler, wanted = system.scheduler, (model.fingerprint, shape.digest)
        with self._tier.using(key):
            with system.snapshot() as snapshot:
                text = self._text_in(snapshot, source, archived)
                rows = [row for row in seen(self.space, snapshot, readings_of(snapshot, source)) if row.stale is None and row.state in VISIBLE]
                row = next((row for row in rows if (row.content.fingerprint, shape_of(row.content)[1]) == wanted), None)
            tokens, head = tokens_of(model, text)
            if shape.options is not None:
                self._tier.shapes[shape.digest] = str(shape)
            if row is not None and row.content.blob is not None:
                size, start = model.kv_bytes(len(tokens)) if shape.full else size_of(row), time.perf_counter()
                try:
                    memory = loaded(model, system.store.blobs.get(row.content.blob), shape)
                except (Corrupt, NotFound):  # the text is read again, and what is damaged or gone is let go of, so that it can be made anew
                    scheduler.drop(TIER, key)
                    self._tier.drop(key)
                    return read(model, [(str(source), text)], shape), False
                scheduler.adopt(TIER, key, size_of(row))
                scheduler.use(TIER, key, size, line=line, priority=self._priority(source))
                scheduler.observe(TIER, "within", size, time.perf_counter() - start)
                return Read(tokens, memory, head), True
            done = read(model, [(str(source), text)], shape)
            size = model.kv_bytes(len(tokens)) if shape.full else done.memory.nbytes().total
            scheduler.observe(TIER, "without", size, done.seconds)
            if not archived and shape.options is not None and self.may_write():
                self.was_read(source, size, shape, done)
            return done, False

    def was_read(self, source: UUID, size: int, shape: Shape, done: Read) -> None:
        """A text was read that is not kept, or not any more: keeps it where the scheduler says so, and the caller may."""
        system, key = self.space.system, key_of(source, shape.digest)
        self._tier.note(key)
        if self._tier.short(system, size):
            self._tier.know(system)
        if system.scheduler.use(TIER, key, size, line=line_of(self.space), priority=self._priority(source)).action is not Action.DECLINE:
            with lending(str(source), shape.digest, done), contextlib.suppress(*UNKEPT):
                self.build(source, size, shape)

    def readable(self, source: UUID) -> None:
        """Raises `NotFound` and `Conflict` where a text is not given to a model."""
        self._text(source)

    def build(self, source: UUID, size: int, shape: Shape) -> None:
        """Reads and keeps a text that the scheduler has made room for, of so many bytes. Raises what `warm` does."""
        system, key = self.space.system, key_of(source, shape.digest)
        start, outcomes = time.perf_counter(), []
        try:  # also where it is held, as far as the scheduler knows: what is there is stale, or gone
            outcomes = self._warm(language_model(system), source, None, shape, stays=False)
        finally:
            if not any(entry.digest == shape.digest for entry in entries_of(self.space, source)):  # declined, or there was no room
                system.scheduler.drop(TIER, key)
                self._tier.keep(key)
        if outcomes:
            system.scheduler.observe(TIER, "build", size, time.perf_counter() - start + lent_seconds())

    def may_write(self) -> bool:
        """Whether the caller could keep what was read."""
        try:
            self.space.admit("write", counted=False)
        except (Invalid, PermissionDenied):
            return False
        return True

    def _replaced(self, source: UUID, keep: str | None) -> None:
        """Forgets what the newest KV memory of a text takes the place of: those that are stale, in whatever form. Those of other models stay,
        and what is frozen."""
        old = [entry for entry in entries_of(self.space, source) if entry.id != keep and entry.stale and not entry.frozen]
        if old:
            self.space.forget([entry.id for entry in old], reason="KV memory of a text that has changed")
        for entry in old:
            if entry.fingerprint == self._tier.fingerprint and not any(one.digest == entry.digest for one in entries_of(self.space, source)):
                self.space.system.scheduler.drop(TIER, key := key_of(source, entry.digest))
                self._tier.keep(key)
