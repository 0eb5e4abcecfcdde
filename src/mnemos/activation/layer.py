"""One layer of a KV memory: takes new keys and values from the model, attends over all that is kept, and lets its policy decide what is kept on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import CacheLayerMixin

from mnemos.activation.aside import Aside
from mnemos.activation.attending import attended, by_token, placed
from mnemos.activation.chunks import ChunkStore
from mnemos.activation.outputs import Output
from mnemos.activation.parts import Bytes, Dense, Part, size_of
from mnemos.activation.policy import PROTECTED, Observes, Policy
from mnemos.activation.recent import Recent
from mnemos.activation.rotary import Rotary, Source, noted, so_far
from mnemos.activation.tail import Landlord, Tail
from mnemos.activation.view import View, side_by_side
from mnemos.base.errors import Invalid, StoreFull


class MemoryLayer(CacheLayerMixin):
    """What one attention layer keeps of the tokens it has seen: `parts`, which its policy made, and the `tail`, the newest as they came."""

    is_sliding = False
    supports_early_init = False

    def __init__(self, policy: Policy, number: int, rotary: Source | None = None, output: Output | None = None,
                 landlord: Landlord | None = None) -> None:  # fmt: skip
        super().__init__()
        self.policy, self.number, self.rotary, self.output, self.landlord = policy, number, rotary, output, landlord
        self.parts: list[Part] = []
        self.tail: Tail
        self.notes: dict[str, Any] = {}
        """What the policy keeps of the sequence: tensors, and plain values."""
        self.aside: dict[str, Aside] = {}
        """By kind, what the policy keeps that no query sees."""
        self.seen = 0
        """Tokens that came by, padding included."""
        self.generated = 0
        """Tokens that came one by one since the last prompt was read."""
        self.settled = True
        self.ends_prompt: bool | None = None
        """Whether the next tokens are the last of a prompt: the layer settles as soon as they were attended to. None: their number tells."""
        self.drafts = 1
        """So many tokens at once, or fewer, are generated ones; more are of a prompt."""
        self.loose = 0
        """The newest tokens that came since the policy last changed what is stored."""
        self._waits = False
        self._said: dict[str, Tensor] = {}
        self.recent = Recent()
        """The newest queries, as many as the policy has the layer keep."""
        self.scaling = 1.0
        self.softcap: float | None = None

    # What transformers calls

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        positions = torch.zeros(key_states.shape[0], 1, 0, dtype=torch.int32, device=key_states.device)
        self.tail = Tail(key_states[:, :, :0], value_states[:, :, :0], positions, landlord=self.landlord)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, kwargs: dict[str, Any] | None = None,
               **more: Any) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Hands the layer to the attention function, which hands it the queries. Raises `Invalid` where that function is not ours."""
        if kwargs is None or self._waits:
            raise Invalid("a KVMemory works only with a model prepared for it: make it by KVMemory.of(model, …), which sets the model's attention; "
                          "and where a forward pass was broken off, its memory is half written: read again")  # fmt: skip
        if not self.is_initialized:
            left = self.policy.left(self.number)
            self.lazy_initialization(*((key_states, value_states) if left is None else map(left.of_heads, (key_states, value_states))))
        kwargs["memory"], self._waits = self, True
        self._said = {name: kwargs[name] for name in self.policy.said if kwargs.get(name) is not None}
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self.seen

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The mask is of the new tokens among themselves; what is stored is seen by all of them."""
        return query_length, self.seen

    def get_max_length(self) -> int:
        return -1

    def reset(self) -> None:
        drafts = self.drafts
        self.__init__(self.policy, self.number, self.rotary, self.output, self.landlord)  # type: ignore[misc]
        self.drafts = drafts

    @property
    def is_croppable(self) -> bool:
        """Whether tokens can be taken back, however many: not after a policy has taken some out of the tail, nor where it has noted what they attend
        to."""
        return not self.is_initialized or (not self.parts and self.tail.length == self.seen and not self._noted)

    @property
    def _noted(self) -> bool:
        """Whether the policy keeps something of each token that cannot be taken back."""
        return self.policy.observes is not Observes.NOTHING or self.policy.hears

    def refusal(self, count: int, exact: bool = False) -> str | None:
        """Why the newest `count` tokens cannot be taken back; None: they can. `exact`: nor may what is left be other than had they never come."""
        if not count:
            return None
        if count > (held := self.tail.length if self.is_initialized else 0):
            return f"the policy {self.policy.name!r} has left only the newest {held} as they came"
        if self._noted:
            return f"the policy {self.policy.name!r} has noted something of each"
        if exact and not self._idle and (count > self.loose or self.policy.query_window):
            return f"the policy {self.policy.name!r} has acted on some of them"
        return None

    @property
    def _idle(self) -> bool:
        """Whether the policy does nothing, whatever comes."""
        own = (type(self.policy).settle, type(self.policy).step, type(self.policy).attend, type(self.policy).open)
        return own == (Policy.settle, Policy.step, Policy.attend, Policy.open) and not self._noted and not self.policy.query_window

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the newest tokens, of which there are −`tokens_to_remove`, as transformers counts them. Raises `Invalid` (see `refusal`)."""
        count = -tokens_to_remove
        if why := "give how many as a negative number" if count < 0 else self.refusal(count):
            raise Invalid(f"cannot take back {count} tokens: {why}; fork() the memory before what shall be taken back")
        if count:
            self.tail.crop(count)
            self.seen -= count
            self.generated, self.loose = max(0, self.generated - count), max(0, self.loose - count)
            self.recent.crop(count)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.select_rows(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        self.select_rows(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.is_initialized:
            rows = torch.arange(self.tail.keys.shape[0], device=self.tail.keys.device)
            self.select_rows(rows.repeat_interleave(repeats))

    def select_rows(self, index: Tensor) -> None:
        """Keeps these rows of the batch, in that order."""
        if self.is_initialized:
            self.parts = [part.rows(index) for part in self.parts]
            self.tail.hold(self.tail.part().rows(index))
            self.notes = {name: note.index_select(0, index) if isinstance(note, Tensor) else note for name, note in self.notes.items()}
            self.recent = self.recent.rows(index)
            self.aside = {kind: each.rows(index) for kind, each in self.aside.items()}

    # What attention calls

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float, positions: Tensor | None,
               softcap: float | None) -> Tensor:  # fmt: skip
        """Queries [B, H, t, d] and the keys and values [B, G, t, d] of the same tokens → output [B, t, H, d]. `mask` [B, 1, t, t] is True where a
        token sees another; None: each sees those before it. `positions` [B or 1, t]; None: they follow on. Of heads that the policy has deleted
        nothing is looked at."""
        self._waits = False
        left = self.policy.left(self.number)
        if left is None:
            return self.go_on(queries, keys, values, mask, scaling, positions, softcap)
        queries, keys, values = left.of_queries(queries), left.of_heads(keys), left.of_heads(values)
        return left.whole(self.go_on(queries, keys, values, mask, scaling, positions, softcap))

    def go_on(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float, positions: Tensor | None,
              softcap: float | None) -> Tensor:  # fmt: skip
        """`attend`, of the heads that the policy has left."""
        new = queries.shape[2]
        decodes = new <= self.drafts and self.seen > 0 and self.ends_prompt is None
        if decodes and not self.settled:
            self.settle()
        if decodes and new > 1 and not self._idle:
            return self._one_by_one(queries, keys, values, mask, scaling, positions, softcap)
        positions = placed(positions, mask, self.seen, keys)
        self.scaling, self.softcap = scaling, softcap
        with self._broken_by_want():
            self.tail.append(keys, values, positions)
        for name, said in self._said.items():
            self.tail.mark(name, said.dtype)[:, :, -new:] = said.unsqueeze(1)
        self._said = {}
        if self.rotary is not None and self.rotary.changing and (number := noted(self.rotary, self.notes.setdefault("rotations", []))):
            self.tail.mark("rotation", torch.int32)[:, :, -new:] = number
        if window := self.policy.query_window if decodes else self.policy.prompt_window:
            self.recent.add(queries, positions, window)
        if self.policy.hears and not decodes:
            self.policy.hear(self, queries, positions)
        held, before = self.tail.length, [*self.parts]
        output = attended(self, queries, mask, decodes)
        self.seen += new
        if decodes:
            self.generated += new
            with self._broken_by_want(True):
                self.policy.step(self)
        else:
            self.settled = False
        if self.tail.length != held:
            self._count()
        same = self.tail.length == held and len(self.parts) == len(before) and all(a is b for a, b in zip(self.parts, before, strict=True))
        self.loose = self.loose + new if same else 0
        if self.ends_prompt:
            self.settle()
        self.ends_prompt = None
        return output.transpose(1, 2)

    def _one_by_one(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float, positions: Tensor | None,
                    softcap: float | None) -> Tensor:  # fmt: skip
        """Generated tokens that were given at once: each is attended to, and the policy hears of it, as if it had come by itself."""
        said, outputs = self._said, []
        for at, (states, own, where) in enumerate(by_token(queries, keys, values, mask, positions)):
            self._said = {name: its[:, at : at + 1] for name, its in said.items()}
            outputs.append(self.go_on(*states, own, scaling, where, softcap))
        return torch.cat(outputs, 1)

    # What policies use

    def rotation(self) -> Rotary:
        """How the model turned the keys of this layer, by all frequencies that were in force so far."""
        return so_far(self.rotary, self.notes.get("rotations", []), self.tail.keys.device)

    def pieces(self) -> list[Part]:
        """All parts, and the tail as the last of them."""
        return [*self.parts, self.tail.part()]

    def marked(self, name: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """The mark of that name of each piece, [B, h, n], to be written to; zeros of that type where it is new."""
        for part in self.parts:
            if name not in part.marks:
                shape = (part.positions.shape[0], len(part.heads), part.length)
                part.marks[name] = torch.zeros(shape, dtype=dtype, device=part.positions.device)
        return [*(part.marks[name] for part in self.parts), self.tail.mark(name, dtype)]

    @property
    def stored(self) -> int:
        """The most tokens that any head holds."""
        held = [self.tail.length] * self.tail.heads
        for part in self.parts:
            for head in part.heads:
                held[head] += part.length
        return max(held)

    def held_tokens(self) -> Tensor:
        """[B, G]: the tokens that each head holds, at least 1."""
        held = (self.tail.positions >= 0).sum(-1).expand(-1, self.tail.heads).clone()
        for part in self.parts:
            held[:, list(part.heads)] += (part.positions >= 0).sum(-1)
        return held.clamp_min(1)

    def view(self) -> View:
        """Everything that is stored, side by side."""
        return View(self, side_by_side(self.pieces(), self.tail.heads), self.recent.states, self.recent.positions, self.scaling, self.softcap)

    def replace(self, parts: Sequence[Part], tail: Dense) -> None:
        """Stores these parts and this tail instead of all that was stored."""
        self.parts = list(parts)
        self.tail.hold(tail)

    def settle(self) -> None:
        """The prompt, or this turn of it, is read: the policy does what it does then. Without effect where nothing was read since."""
        if self.is_initialized and not self.settled:
            self.settled, self.generated, self.loose, self.ends_prompt = True, 0, 0, None
            with self._broken_by_want(True):
                self.policy.settle(self)
            self._count()
            if self.policy.prompt_window > self.policy.query_window:
                self.recent.shorten(self.policy.query_window)

    @contextmanager
    def _broken_by_want(self, written: bool = False) -> Iterator[None]:
        """Where there is no room (`StoreFull`), and tokens are in this layer or in those before it, the memory is half written: it says so when it is
        used again."""
        try:
            yield
        except StoreFull:
            self._waits = written or self.number > 0
            raise

    def _count(self) -> None:
        if self.landlord is not None:
            aside = sum(its.nbytes().near for its in self.aside.values())
            self.landlord.count(self.number, aside + sum(part.nbytes().near for part in self.parts))

    # What owners use

    @property
    def place(self) -> Any:
        """Where the policy puts what lies far (`mnemos.activation.chunks.Place`); None where the memory has no place of its own for it."""
        return None if self.landlord is None else self.landlord.place

    def lodge(self, landlord: Landlord) -> None:
        """Moves what the layer holds to rooms and places of the landlord's. Raises `OverQuota`, `StoreFull`."""
        if self.is_initialized:
            self.tail.move(landlord)
        self.landlord = landlord
        for part in self.parts:
            if isinstance(store := getattr(part, "store", None), ChunkStore):
                store.move(landlord.place)
        self.aside = {kind: each.moved(landlord.place) for kind, each in self.aside.items()}
        self._count()

    def protect(self, start: int, stop: int) -> None:
        """See `KVMemory.protect`."""
        if not self.is_initialized:
            raise Invalid("there is nothing to protect: nothing was read")
        places = self.view().positions
        held = ((places >= start) & (places < stop)).sum(-1)
        there = (places.amax((1, 2)) + 1).clamp_max(stop) - start  # of each row, which may be shorter than others
        if bool((held < there[:, None]).any()):
            raise Invalid(f"layer {self.number}: of the tokens at positions {start} to {stop} a head holds no more than {int(held.min())}; "
                          "the others are gone: protect before more is read than the budget holds")  # fmt: skip
        for piece, mark in zip(self.pieces(), self.marked(PROTECTED, torch.bool), strict=True):
            mark |= (piece.positions >= start) & (piece.positions < stop)

    def nbytes(self) -> Bytes:
        """Of all tensors that the layer holds."""
        if not self.is_initialized:
            return Bytes()
        own = size_of(*self.recent.tensors().values(), *(note for note in self.notes.values() if isinstance(note, Tensor)))
        parts = sum((part.nbytes() for part in self.parts), self.tail.nbytes() + Bytes(own))
        return sum((its.nbytes() for its in self.aside.values()), parts)

    def held(self) -> list[list[set[int]]]:
        """For each row and each head, the positions of the tokens that can still be attended to; no rows where nothing was read."""
        if not self.is_initialized:
            return []
        positions = self.view().positions.tolist()
        return [[{place for place in head if place >= 0} for head in row] for row in positions]

    def fork(self, landlord: Landlord | None = None) -> MemoryLayer:
        """A layer that goes on by itself from here, as one of the memory that rents from that landlord."""
        other = MemoryLayer(self.policy, self.number, self.rotary)
        other.__dict__.update(self.__dict__, landlord=landlord if landlord is not None or self.landlord is None else self.landlord.another())
        other.recent, other.aside = copy.copy(self.recent), dict(self.aside)
        other.notes = {name: note.clone() if isinstance(note, Tensor) else note for name, note in self.notes.items()}
        if self.is_initialized:
            other.tail = self.tail.fork(other.landlord)
            other.parts = [fork_part(part) for part in self.parts]
            other._count()
        return other


def fork_part(part: Part) -> Part:
    """The same part with marks of its own: all else of it never changes."""
    other = copy.copy(part)
    other.marks = {name: mark.clone() for name, mark in part.marks.items()}
    return other
