"""The arena's state and the rules by which it changes. No locks: `Arena` calls this with its lock held."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

from mnemos.activation.arena import sharing
from mnemos.activation.arena.backend import Backend
from mnemos.activation.arena.layout import Layout
from mnemos.activation.arena.outcome import Place, Step, lacking
from mnemos.activation.arena.planning import Fit, reclaim_order
from mnemos.activation.arena.pool import Pool
from mnemos.activation.arena.quotas import OverQuota, Quotas
from mnemos.activation.arena.table import PageTable
from mnemos.activation.arena.undo import Undo


@dataclass(frozen=True)
class Ahead:
    """What is mapped before it is needed (vAttention, section 6.1.1 and 6.1.3)."""

    lookahead: int = 10
    """Tokens that a sequence may gain until it needs the page."""
    blocks: int = 2
    """Most blocks at a step, beside those that the very next token needs."""
    premap: bool = True
    """Whether pages wait in the slot that the next sequence will get."""


class Core:
    """Slots with their lengths, owners and blocks. What can fail is planned first, and done or not done as a whole."""

    def __init__(self, layout: Layout, backend: Backend, base: int, quotas: Quotas, scrub: bool, fit_slots: Fit, ahead: Ahead) -> None:
        self.layout = layout
        self.backend = backend
        self.capabilities = backend.capabilities()
        self.quotas = quotas
        self.pool = Pool(layout, backend)
        self.table = PageTable(layout, backend, base, self.pool)
        self.lens = [0] * layout.max_batch
        self.owners: list[str | None] = [None] * layout.max_batch
        self.fences: list[object] = [None] * layout.max_batch
        """Of each slot, behind what may still read the rows that it has given up."""
        self.charged: dict[str, int] = {}
        """Blocks by namespace."""
        self.arrivals: deque[int] = deque(maxlen=16)
        """Blocks that the last sequences needed when they came."""
        self.deferred = True
        self._scrub, self._fit_slots, self._ahead = scrub, fit_slots, ahead
        self._premapped = False
        """Whether the last look ahead found nothing to map for the next sequence, and nothing has happened since that could change it."""

    def choose(self, count: int, needed: int) -> int | None:
        """The first of `count` adjacent free slots for sequences of `needed` blocks; None where there are none."""
        return self._fit_slots([len(blocks) for blocks in self.table.blocks], [owner is None for owner in self.owners], count, needed)

    def take(self, slots: Sequence[int], namespace: str) -> None:
        """The slots, with the pages that are left in them, become the namespace's."""
        for slot in slots:
            self.hand_over(slot, 0, namespace)
        for slot in slots:
            self.owners[slot] = namespace
        self._premapped = False

    def free(self, slots: Iterable[int]) -> None:
        """Nothing for those that are free already. Shared pages go, for whoever comes next would write to them; others stay."""
        namespaces = set()
        for slot in slots:
            if self.owners[slot] is None:
                continue
            namespaces.add(self.owners[slot])
            self.fences[slot] = self.backend.fence()
            if any(self.pool.references(block) > 1 for block in self.table.blocks[slot]):
                self.backend.wait(self.fences[slot])
                self.table.trim(slot, 0, Undo())
            self.lens[slot], self.owners[slot] = 0, None
        if namespaces:
            self._premapped = False
            self.charge(namespaces, self.lens, (), Undo())

    def give_back(self, slot: int) -> int:
        """The pool gets all blocks that the slot has beyond need, now; how many."""
        if len(self.table.blocks[slot]) <= (needed := self.layout.needed(self.lens[slot])):
            return 0
        self._premapped = False
        self.backend.wait(self.fences[slot])
        return self.table.trim(slot, needed, Undo())

    def hand_over(self, slot: int, at: int, namespace: str) -> None:
        """The slot's blocks from `at` on become the namespace's; those with rows of another are overwritten first."""
        for index, block in enumerate(self.table.blocks[slot][at:], at):
            if self._scrub and self.pool.writer.get(block, namespace) != namespace:
                self.table.zero(slot, index, 1)
            self.pool.writer[block] = namespace

    def fit(self, lens: Mapping[int, int], eager_reclaim: bool = False, writes: Mapping[int, range] | None = None) -> Step:
        """Maps what the lengths need, all or nothing. `writes` are the rows that each slot will write to; without it those that it gains."""
        new = list(self.lens)
        for slot, tokens in lens.items():
            new[slot] = tokens
        if writes is None:
            writes = {slot: range(self.lens[slot], new[slot]) for slot in lens}
        growth = {slot: count for slot in lens if (count := self.layout.needed(new[slot]) - len(self.table.blocks[slot])) > 0}
        copies = sharing.written(self, writes) if self.pool.shared else []
        wanted = dict(growth)
        for slot, _ in copies:
            wanted[slot] = wanted.get(slot, 0) + 1
        if (refused := self.refused(wanted, new, copies)) is not None:
            return refused
        changed = {self.owners[slot] for slot in lens if self.layout.needed(new[slot]) != self.layout.needed(self.lens[slot])}
        changed |= {self.owners[slot] for slot, _ in copies}
        dropped: list[int] = []
        try:
            with Undo() as undo:
                self.charge(changed, new, copies, undo)
                reclaimed = self.make_room(sum(wanted.values()), new, undo, everything=eager_reclaim)
                for slot, count in growth.items():
                    self.grow(slot, count, undo)
                dropped = sharing.copy_on_write(self, copies, undo)
        except OverQuota as error:  # another arena was faster
            return Step(unfit=tuple(sorted(wanted)), over={error.namespace: error.over}, error=error)
        self.table.let_go(dropped)
        self.settle(new)
        return Step(sum(growth.values()) + len(dropped), reclaimed)

    def advance(self, lens: Mapping[int, int], ahead: bool) -> bool:
        """Writes lengths where sequences only gain tokens in pages that they have, and nothing is to be mapped ahead. Else does nothing: False."""
        if self.pool.shared or not self.deferred or (ahead and not self._premapped):
            return False
        tokens_per_page, margin = self.layout.tokens_per_page, self._ahead.lookahead if ahead else 0
        for slot, tokens in lens.items():
            if not 0 <= slot < len(self.lens) or self.owners[slot] is None:
                return False
            before = self.lens[slot]
            room = len(self.table.blocks[slot]) * tokens_per_page
            if tokens < before or tokens > -(-before // tokens_per_page) * tokens_per_page or min(tokens + margin, self.layout.max_ctx) > room:
                return False
        for slot, tokens in lens.items():
            self.lens[slot] = tokens
        return True

    def settle(self, lens: Sequence[int]) -> None:
        """Writes lengths. Rows that a slot gives up may still be read by what the device was given."""
        for slot, tokens in enumerate(lens):
            if tokens < self.lens[slot]:
                self.fences[slot] = self.backend.fence()
            self.lens[slot] = tokens

    def grow(self, slot: int, count: int, undo: Undo) -> None:
        """So many free blocks at the end of a slot."""
        at = len(self.table.blocks[slot])
        self.table.append(slot, count, undo)
        namespace = self.owners[slot]
        if namespace is not None:
            self.hand_over(slot, at, namespace)

    def surplus(self, lens: Sequence[int]) -> int:
        """Blocks beyond what those lengths need that would be free if they were taken back."""
        if not self.pool.shared:
            return sum(max(0, len(blocks) - self.layout.needed(tokens)) for blocks, tokens in zip(self.table.blocks, lens, strict=True))
        beyond = [block for blocks, tokens in zip(self.table.blocks, lens, strict=True) for block in blocks[self.layout.needed(tokens) :]]
        return sum(1 for block in set(beyond) if self.pool.references(block) == beyond.count(block))

    def predicted(self) -> tuple[int | None, int]:
        """The slot that the next sequence gets if it is as long as half of the last ones were, and the blocks that it needs then."""
        if not self.arrivals:
            return None, 0
        needed = median_low(self.arrivals)
        return self.choose(1, needed), needed

    def refused(self, wanted: Mapping[int, int], lens: Sequence[int], copies: Sequence[Place] = ()) -> Step | None:
        """The step that says what does not fit, None where all does. Slots that want least are served first."""
        blocks = sum(wanted.values())
        if not blocks:
            return None
        supply = self.pool.free + (self.surplus(lens) if blocks > self.pool.free else 0)
        size = self.layout.block_bytes
        left: dict[str, int] = {}
        more: dict[str, int] = {}
        for owner in {self.owners[slot] for slot in wanted}:
            if owner is not None and (allowed := self.quotas.left(owner)) is not None:
                left[owner] = allowed
                more[owner] = (self.count(owner, lens, copies) - self.charged.get(owner, 0)) * size
        over = {owner: excess for owner in left if (excess := self.quotas.over(owner, more[owner]))}
        short = max(0, blocks - supply)
        if not short and not over:
            return None
        unfit: list[int] = []
        for slot, count in sorted(wanted.items(), key=lambda item: (item[1], item[0])):
            owner = self.owners[slot]
            if count > supply or (owner in over and count * size > left[owner]):
                unfit.append(slot)
                continue
            supply -= count
            if owner in over:
                left[owner] -= count * size
        unfit.sort()
        if over:
            owner = max(over, key=over.__getitem__)
            return Step(unfit=tuple(unfit), short=short, over=over, error=OverQuota(owner, self.quotas.used(owner), more[owner], over[owner]))
        return Step(unfit=tuple(unfit), short=short, error=lacking(unfit, short, blocks, size, self.pool.there))

    def count(self, namespace: str, lens: Sequence[int], copies: Sequence[Place] = ()) -> int:
        """Blocks that a namespace needs for those lengths, shared ones once; `copies` are places that will have blocks of their own."""
        slots = [slot for slot, owner in enumerate(self.owners) if owner == namespace]
        if not self.pool.shared:
            return sum(self.layout.needed(lens[slot]) for slot in slots)
        distinct: set[int] = set()
        fresh = 0
        for slot in slots:
            needed = self.layout.needed(lens[slot])
            have = [block for at, block in enumerate(self.table.blocks[slot][:needed]) if (slot, at) not in copies]
            distinct.update(have)
            fresh += needed - len(have)
        return len(distinct) + fresh

    def charge(self, namespaces: Iterable[str | None], lens: Sequence[int], copies: Sequence[Place], undo: Undo) -> None:
        """Brings the namespaces' charges to what those lengths need. Raises `OverQuota`."""
        for namespace in namespaces:
            if namespace is not None:
                before = self.charged.get(namespace, 0)
                self._set_charge(namespace, self.count(namespace, lens, copies))
                undo(lambda namespace=namespace, before=before: self._set_charge(namespace, before))  # type: ignore[misc]

    def make_room(self, wanted: int, lens: Sequence[int], undo: Undo, everything: bool = False) -> int:
        """Takes back what `wanted` blocks lack, or `everything` beyond need, or one block where nothing is wanted and reclamation is not deferred."""
        short = wanted - self.pool.free
        if not (everything or short > 0 or not (self.deferred or wanted)):
            return 0
        self._premapped = False
        goal = self.pool.size if everything else self.pool.free + max(short, 1)
        before = self.pool.free
        counts, needed = [len(blocks) for blocks in self.table.blocks], [self.layout.needed(tokens) for tokens in lens]
        for slot, spare in reclaim_order(counts, needed, [owner is None for owner in self.owners], self.predicted()[0]):
            if self.pool.free >= goal:
                break
            self.backend.wait(self.backend.fence() if lens[slot] < self.lens[slot] else self.fences[slot])
            # Of blocks that others have too, none may become free: then all that the slot has to spare goes.
            self.table.trim(slot, counts[slot] - (spare if self.pool.shared else min(spare, goal - self.pool.free)), undo)
        return self.pool.free - before

    def ahead(self) -> list[tuple[int, int]]:
        """Slots, and how many blocks to map for them now: all that the next token needs, a few that later ones will, or the next sequence.

        Only free blocks are used: what has to be reclaimed is reclaimed when it is needed.
        """
        free, places, later = self.pool.free, [], []
        for slot, tokens in enumerate(self.lens):
            if not tokens:
                continue
            have = len(self.table.blocks[slot])
            if self.layout.needed(min(tokens + 1, self.layout.max_ctx)) > have:
                places.append((slot, 1))
            elif self.layout.needed(min(tokens + self._ahead.lookahead, self.layout.max_ctx)) > have:
                later.append((have * self.layout.tokens_per_page - tokens, slot))
        del places[free:]
        eager = min(self._ahead.blocks, free - len(places))
        places += [(slot, 1) for _, slot in sorted(later)[:eager]]
        eager -= min(eager, len(later))
        if self._ahead.premap and eager > 0:
            coming, needed = self.predicted()
            if coming is not None and (missing := needed - len(self.table.blocks[coming])) > 0:
                places.append((coming, min(eager, missing)))
        self._premapped = not places
        return places

    def close(self) -> None:
        """Takes all pages out, and gives them and the charges back."""
        for slot in range(self.layout.max_batch):
            self.backend.wait(self.fences[slot])
            self.table.trim(slot, 0, Undo())
        for namespace in list(self.charged):
            self._set_charge(namespace, 0)
        self.pool.close()

    def _set_charge(self, namespace: str, blocks: int) -> None:
        self.quotas.charge(namespace, (blocks - self.charged.get(namespace, 0)) * self.layout.block_bytes)
        self.charged[namespace] = blocks
