"""One layer of a KV memory: takes new keys and values from the model, attends over all that is kept, and lets its policy decide what is kept on."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.cache_utils import CacheLayerMixin

from mnemos.activation.chunks import ChunkStore
from mnemos.activation.merging import attend
from mnemos.activation.outputs import Output
from mnemos.activation.parts import Bytes, Dense, Part, size_of
from mnemos.activation.policy import PROTECTED, Observes, Policy
from mnemos.activation.rotary import Rotary, Source
from mnemos.activation.tail import Landlord, Tail
from mnemos.activation.view import View, side_by_side
from mnemos.base.errors import Invalid, StoreFull

ROWS_AT_ONCE = 128
"""Queries whose attention to everything is held at a time where it has to be seen."""


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
        self.seen = 0
        """Tokens that came by, padding included."""
        self.generated = 0
        """Tokens that came one by one since the last prompt was read."""
        self.settled = True
        self.ends_prompt = False
        """Whether the next tokens are the last of a prompt: the layer settles as soon as they were attended to."""
        self._waits = False
        self._said: dict[str, Tensor] = {}
        self._queries: Tensor | None = None
        self._query_positions: Tensor | None = None
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
            both = (key_states, value_states) if left is None else (left.of_heads(key_states), left.of_heads(value_states))
            self.lazy_initialization(*both)
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
        self.__init__(self.policy, self.number, self.rotary, self.output, self.landlord)  # type: ignore[misc]

    @property
    def is_croppable(self) -> bool:
        """Whether tokens can be taken back, however many: not after a policy has taken some out of the tail, nor where it has noted what they attend
        to."""
        return not self.is_initialized or (not self.parts and self.tail.length == self.seen and not self._noted)

    @property
    def _noted(self) -> bool:
        """Whether the policy keeps something of each token that cannot be taken back."""
        return self.policy.observes is not Observes.NOTHING or self.policy.hears

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the newest tokens, of which there are −`tokens_to_remove`, as transformers counts them. Raises `Invalid` for a positive number, and
        where the policy has already taken some of them out of the tail, or has noted what they attend to."""
        count = -tokens_to_remove
        if count < 0:
            raise Invalid(f"crop({tokens_to_remove}): give how many tokens to take back as a negative number")
        if count > (held := self.tail.length if self.is_initialized else 0):
            raise Invalid(f"cannot take back {count} tokens: the policy {self.policy.name!r} has left only the newest {held} as they "
                          "came; fork() the memory before what shall be taken back")  # fmt: skip
        if count and self._noted:
            raise Invalid(f"cannot take back {count} tokens: the policy {self.policy.name!r} has noted something of each; fork() the memory "
                          "before what shall be taken back")  # fmt: skip
        if count:
            self.tail.crop(count)
            self.seen -= count
            if self._queries is not None and self._query_positions is not None:
                self._queries, self._query_positions = self._queries[:, :, :-count].clone(), self._query_positions[:, :-count].clone()

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
            if self._queries is not None and self._query_positions is not None:
                self._queries, self._query_positions = self._queries.index_select(0, index), self._query_positions.index_select(0, index)

    # What attention calls

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float, positions: Tensor | None,
               softcap: float | None) -> Tensor:  # fmt: skip
        """Queries [B, H, t, d] and the keys and values [B, G, t, d] of the same tokens → output [B, t, H, d]. `mask` [B, 1, t, t] is True where a
        token sees another; None: each sees those before it. `positions` [B or 1, t]; None: they follow on. Of heads that the policy has deleted
        nothing is looked at."""
        self._waits = False
        left = self.policy.left(self.number)
        if left is None:
            return self._attend(queries, keys, values, mask, scaling, positions, softcap)
        queries, keys, values = left.of_queries(queries), left.of_heads(keys), left.of_heads(values)
        return left.whole(self._attend(queries, keys, values, mask, scaling, positions, softcap))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float, positions: Tensor | None,
                softcap: float | None) -> Tensor:  # fmt: skip
        rows, _, new, _ = queries.shape
        decodes = new == 1 and self.seen > 0 and not self.ends_prompt
        if decodes and not self.settled:
            self.settle()
        if positions is None:
            positions = torch.arange(self.seen, self.seen + new, device=keys.device)[None]
        positions = positions.to(torch.int32).expand(rows, -1)
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape[-2:] != (new, new):
                raise Invalid(f"a KVMemory takes boolean masks of the new tokens among themselves, [B, 1, {new}, {new}], not {mask.dtype} "
                              f"{tuple(mask.shape)}: give attention_mask [B, n], which says what is padding")  # fmt: skip
            positions = positions.masked_fill(~mask[:, 0].diagonal(dim1=-2, dim2=-1), -1)  # what does not even see itself is padding
        self.scaling, self.softcap = scaling, softcap
        with self._broken_by_want():
            self.tail.append(keys, values, positions)
        for name, said in self._said.items():
            self.tail.mark(name, said.dtype)[:, :, -new:] = said.unsqueeze(1)
        self._said = {}
        self._note_rotation(new)
        self._remember(queries, positions, self.policy.query_window if decodes else self.policy.prompt_window)
        if self.policy.hears and not decodes:
            self.policy.hear(self, queries, positions)
        watched = self.policy.observes is Observes.EVERYTHING or (decodes and self.policy.observes is Observes.DECODING)
        own = self.policy.attend(self, queries, mask)
        fused = own is None and not self.parts and softcap is None
        if own is not None:
            output = own
        elif watched and fused and decodes and mask is None:
            whole = self.tail.part()
            weights = self._row(queries, whole)
            self.policy.observe(self, [whole], [weights.unsqueeze(3)])
            if whole.length <= self.seen:  # something was dropped: what comes out need not be the full cache's to the bit
                output, fused = torch.matmul(weights.to(values.dtype), whole.values).reshape(*queries.shape[:-1], -1), False
        elif watched or not fused:
            output = self._merged(queries, mask, watched)
        if fused:  # also where it was computed to be watched: the same numbers come out of the same kernel, watched or not
            output = self._fused(queries, mask)
        self.seen += new
        if decodes:
            self.generated += 1
            held = self.tail.length
            with self._broken_by_want(True):
                self.policy.step(self)
            if self.tail.length != held:
                self._count()
        else:
            self.settled = False
            if self.ends_prompt:
                self.settle()
        return output.transpose(1, 2)

    def _remember(self, queries: Tensor, positions: Tensor, window: int) -> None:
        if window:
            before = [] if self._queries is None or self._query_positions is None else [(self._queries, self._query_positions)]
            queries, positions = torch.cat([*(each for each, _ in before), queries], 2), torch.cat([*(each for _, each in before), positions], 1)
            if bool((positions < 0).any()):  # each row keeps its own newest, whatever the padding between its turns
                places = (positions >= 0).int().argsort(dim=1, stable=True)[:, -window:]
                queries = queries.gather(2, places[:, None, :, None].expand(-1, queries.shape[1], -1, queries.shape[-1]))
                positions = positions.gather(1, places)
            self._queries, self._query_positions = queries[:, :, -window:].clone(), positions[:, -window:].clone()

    def _note_rotation(self, new: int) -> None:
        """Where the model's rotation changes as a sequence grows, and the policy turns keys back: which of its frequencies turned the new tokens."""
        if self.rotary is None or not self.rotary.changing:
            return
        frequencies, scaling = self.rotary.now("cpu")
        now, known = [frequencies.tolist(), scaling], self.notes.get("rotations", [])
        if not known or known[-1] != now:
            self.notes["rotations"] = known = [*known, now]
        if len(known) > 1:
            self.tail.mark("rotation", torch.int32)[:, :, -new:] = len(known) - 1

    def _fused(self, queries: Tensor, mask: Tensor | None) -> Tensor:
        """Over the tail alone, by torch's own kernel."""
        new, length, rows = queries.shape[2], self.tail.length, queries.shape[0]
        keys, values = self.tail.keys, self.tail.values
        absent = not self.tail.whole
        if new == length and not absent and mask is None:
            return scaled_dot_product_attention(queries, keys, values, is_causal=new > 1, scale=self.scaling, enable_gqa=True)
        if new == 1 and not absent:  # the query heads that share a key-value head stand as if they were tokens: no copy of keys
            grouped = queries.reshape(rows, keys.shape[1], -1, queries.shape[-1])
            return scaled_dot_product_attention(grouped, keys, values, scale=self.scaling).reshape(*queries.shape[:-1], -1)
        if mask is None and not absent:
            return self._in_blocks(queries, length - new)
        seen = self.tail_mask(mask, 0, new, new, length) & (self.tail.positions >= 0)[:, :, None, :]
        seen = seen | ~seen.any(-1, keepdim=True)  # a padded query sees everything rather than nothing, which would be NaN
        if seen.shape[1] not in (1, queries.shape[1]):
            seen = seen.repeat_interleave(queries.shape[1] // seen.shape[1], 1)
        return scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=self.scaling, enable_gqa=True)

    def _row(self, queries: Tensor, tail: Dense) -> Tensor:
        """[B, G, g, n] float32: what one new query [B, H, 1, d] attends to in the tail."""
        rows, heads, size = queries.shape[0], len(tail.heads), queries.shape[-1]
        grouped, keys = queries.reshape(rows * heads, -1, size), tail.keys.flatten(0, 1)
        scores = torch.baddbmm(grouped.new_empty(()), grouped, keys.mT, beta=0, alpha=self.scaling).unflatten(0, (rows, heads)).float()
        if self.tail.whole:
            return scores.softmax(-1)
        return scores.masked_fill((tail.positions < 0).unsqueeze(2), -torch.inf).softmax(-1).nan_to_num()

    def _in_blocks(self, queries: Tensor, before: int) -> Tensor:
        """Queries that follow `before` tokens, block by block: each looks at what stands up to its end, and not at what none of it can see."""
        outputs, new = [], queries.shape[2]
        for start in range(0, new, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, new)
            keys, values = self.tail.keys[:, :, : before + stop], self.tail.values[:, :, : before + stop]
            seen = self.tail_mask(None, start, stop, new, before + new)[..., : before + stop]
            some = queries[:, :, start:stop]
            outputs.append(scaled_dot_product_attention(some, keys, values, attn_mask=seen, scale=self.scaling, enable_gqa=True))
        return torch.cat(outputs, 2)

    def tail_mask(self, mask: Tensor | None, start: int, stop: int, new: int, length: int) -> Tensor:
        """[B, 1, stop − start, length]: what new queries start … stop see of the tail, whose last `new` tokens are theirs."""
        if mask is None:
            own = torch.ones(new, new, dtype=torch.bool, device=self.tail.keys.device).tril()[None, None, start:stop]
        else:
            own = mask[:, :, start:stop]
        there = self._asking(start, stop, new)
        return torch.cat([there.expand(-1, -1, -1, length - new), own.expand(there.shape[0], -1, -1, -1)], -1)

    def _asking(self, start: int, stop: int, new: int) -> Tensor:
        """[B, 1, stop − start, 1]: which of the new queries are of a token, and see what is stored; the others are padding."""
        first = self.tail.length - new
        return self.tail.positions[:, :1, first + start : first + stop, None] >= 0

    def _merged(self, queries: Tensor, mask: Tensor | None, watched: bool) -> Tensor:
        """Over parts and tail; what is attended to is seen by the policy where it asked for it."""
        rows, heads, new, size = queries.shape
        grouped = queries.reshape(rows, self.tail.heads, heads // self.tail.heads, new, size)
        outputs = []
        for start in range(0, new, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, new)
            some = grouped[:, :, :, start:stop]
            pieces = self.pieces()
            opened = [*(self.policy.open(self, part, some[:, list(part.heads)], new) for part in self.parts), pieces[-1]]
            masks = [getattr(part, "seen", None) for part in opened[:-1]]
            if mask is not None:
                asking = self._asking(start, stop, new)
                both = [asking if seen is None else seen & asking for seen in masks]
                masks = [seen.expand(-1, -1, -1, part.length) for seen, part in zip(both, opened[:-1], strict=True)]
            masks.append(self.tail_mask(mask, start, stop, new, self.tail.length))
            output, weights = attend(some, opened, masks, self.scaling, self.softcap)
            if watched:
                self.policy.observe(self, pieces, weights)
            outputs.append(output)
        return torch.cat(outputs, 3).reshape(*queries.shape[:-1], -1)

    # What policies use

    def rotation(self) -> Rotary:
        """How the model turned the keys of this layer, by all frequencies that were in force so far."""
        device = self.tail.keys.device
        if self.rotary is None:
            return Rotary.identity(device)
        rotary = self.rotary.rotary(device)
        for number, (frequencies, scaling) in enumerate(self.notes.get("rotations", [])):
            its = torch.tensor(frequencies, device=device)
            rotary = rotary.with_set(its, scaling) if number else Rotary(rotary.layout, its[None], torch.tensor([scaling], device=device))
        return rotary

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
        return View(self, side_by_side(self.pieces(), self.tail.heads), self._queries, self._query_positions, self.scaling, self.softcap)

    def replace(self, parts: Sequence[Part], tail: Dense) -> None:
        """Stores these parts and this tail instead of all that was stored."""
        self.parts = list(parts)
        self.tail.hold(tail)

    def settle(self) -> None:
        """The prompt, or this turn of it, is read: the policy does what it does then. Without effect where nothing was read since."""
        if self.is_initialized and not self.settled:
            self.settled, self.generated, self.ends_prompt = True, 0, False
            with self._broken_by_want(True):
                self.policy.settle(self)
            self._count()
            if self._queries is not None and self._query_positions is not None and self.policy.prompt_window > self.policy.query_window:
                self._queries, self._query_positions = _newest(self._queries, self._query_positions, self.policy.query_window)

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
            self.landlord.count(self.number, sum(part.nbytes().near for part in self.parts))

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

    def queries(self) -> dict[str, Tensor]:
        """The newest queries that the policy has the layer keep, and their positions; empty where it keeps none."""
        if self._queries is None or self._query_positions is None:
            return {}
        return {"states": self._queries, "positions": self._query_positions}

    def keep_queries(self, queries: dict[str, Tensor]) -> None:
        """Undoes `queries`."""
        self._queries, self._query_positions = queries.get("states"), queries.get("positions")

    def nbytes(self) -> Bytes:
        """Of all tensors that the layer holds."""
        if not self.is_initialized:
            return Bytes()
        own = size_of(self._queries, self._query_positions, *(note for note in self.notes.values() if isinstance(note, Tensor)))
        return sum((part.nbytes() for part in self.parts), self.tail.nbytes() + Bytes(own))

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
        other.notes = {name: note.clone() if isinstance(note, Tensor) else note for name, note in self.notes.items()}
        if self.is_initialized:
            other.tail = self.tail.fork(other.landlord)
            other.parts = [fork_part(part) for part in self.parts]
            other._count()
        return other


def _newest(queries: Tensor, positions: Tensor, window: int) -> tuple[Tensor | None, Tensor | None]:
    """Copies of the newest `window` queries and their positions; none of 0."""
    return (queries[:, :, -window:].clone(), positions[:, -window:].clone()) if window else (None, None)


def fork_part(part: Part) -> Part:
    """The same part with marks of its own: all else of it never changes."""
    other = copy.copy(part)
    other.marks = {name: mark.clone() for name, mark in part.marks.items()}
    return other
