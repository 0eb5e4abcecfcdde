"""Taking back tokens that a policy has already folded, compressed, evicted or taken note of: what came before them is read again.

What a policy let go of is nowhere else, so the only exact way back is the way there. A memory that is made with `rollback` keeps the ids of its
tokens and how they came: what was read as a prompt and where it ended, what was generated. `KVMemory.crop` takes tokens back where they lie as they
came, and nothing has looked at them; where that would leave a trace it begins anew and reads what is left, with the same policy.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mnemos.activation.parts import size_of
from mnemos.base.errors import Invalid

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory


@dataclass(frozen=True)
class Given:
    """Tokens that came together: `ids` [B, t] int32; `there` [B, t], False at padding, None where there is a token everywhere; `positions`
    [B or 1, t], None where nothing was said of them; what was `said` of each by keyword [B, t]; whether they were `generated`, or of a prompt."""

    ids: Tensor
    there: Tensor | None = None
    positions: Tensor | None = None
    said: Mapping[str, Tensor] | None = None
    generated: bool = False

    @property
    def length(self) -> int:
        """t."""
        return int(self.ids.shape[1])

    def each(self, change: Callable[[Tensor], Tensor]) -> Given:
        """The same of changed tensors."""
        there, positions = (None if tensor is None else change(tensor) for tensor in (self.there, self.positions))
        return replace(self, ids=change(self.ids), there=there, positions=positions, said={k: change(v) for k, v in (self.said or {}).items()})

    def some(self, start: int, stop: int) -> Given:
        """Only these of the tokens."""
        return self.each(lambda tensor: tensor[:, start:stop])

    def then(self, other: Given) -> Given | None:
        """Both as one; None where they did not come alike."""
        mine, its = self._tensors(), other._tensors()
        if not (self.generated and other.generated) or mine.keys() != its.keys():
            return None
        both = {name: torch.cat([tensor, its[name]], 1) for name, tensor in mine.items()}
        return Given(both.pop("ids"), both.pop("there", None), both.pop("positions", None), {k[1:]: v for k, v in both.items()}, True)

    def _tensors(self) -> dict[str, Tensor]:
        own = {"ids": self.ids, "there": self.there, "positions": self.positions, **{f" {name}": its for name, its in (self.said or {}).items()}}
        return {name: tensor for name, tensor in own.items() if tensor is not None}


@dataclass(frozen=True)
class Protected:
    """Tokens at positions from `start` to before `stop` may not be dropped from here on."""

    start: int
    stop: int


_TELLS = "tells_mnemos_rollback"
"""The attribute of a model whose hook is there."""
SETTLED = "settled"
"""A prompt, or a turn of it, ended."""
Event = Given | Protected | str


class Rollback:
    """What one memory was given, and the model that reads it again. `count` rebuildings so far took `seconds`, and read `tokens` places again."""

    def __init__(self, model: Any, block: int = 64, clock: Callable[[], float] = time.perf_counter) -> None:
        """`block`: generated tokens that are read again at a time; 1: as they came, bit for bit what was. The model tells what it is given (a hook of
        torch, which stays). Raises `Invalid` for fewer than 1."""
        if block < 1:
            raise Invalid(f"generated tokens are read again in blocks of 1 or more, not {block}")
        self.block, self.clock = block, clock
        self.events: list[Event] = []
        self.count, self.tokens, self.seconds = 0, 0, 0.0
        self._base, self._keyword, self._strange = model.base_model, "cache", ""
        if not getattr(self._base, _TELLS, False):
            self._base.register_forward_hook(_note, with_kwargs=True)
            setattr(self._base, _TELLS, True)

    @property
    def known(self) -> int:
        """Places, padding included, whose ids are kept."""
        return sum(event.length for event in self.events if isinstance(event, Given))

    def give(self, ids: Tensor, generated: int = 0) -> None:
        """Says which tokens [B, n] a memory holds that was read without this (loaded, say): one prompt, of which all was read, and `generated` tokens
        after it, one by one."""
        prompt = ids.shape[1] - generated
        self.events = [Given(_kept(ids[:, :prompt])), SETTLED]
        if generated:
            self.events.append(Given(_kept(ids[:, prompt:]), generated=True))

    def clear(self) -> None:
        """The memory is empty."""
        self.events, self._strange = [], ""

    def forget(self, count: int) -> None:
        """The newest `count` tokens are no longer there."""
        self.events = _without(self.events, count)

    def rows(self, index: Tensor) -> None:
        """The memory holds these rows of the batch now."""
        self._change(lambda tensor: _rows(tensor, index))

    def repeat(self, repeats: int) -> None:
        """The memory holds each row so many times now."""
        self._change(lambda tensor: tensor.repeat_interleave(repeats, 0))

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        self.events = [event.each(change) if isinstance(event, Given) else event for event in self.events]

    def fork(self) -> Rollback:
        """Of a memory that goes on by itself: it has rebuilt nothing yet."""
        other = copy.copy(self)
        other.events, other.count, other.tokens, other.seconds = [*self.events], 0, 0, 0.0
        return other

    def nbytes(self) -> int:
        """Of ids and what was said of them."""
        return size_of(*(tensor for event in self.events if isinstance(event, Given) for tensor in event._tensors().values()))

    def note(self, memory: KVMemory, keyword: str, ids: Tensor | None, given: Mapping[str, Any]) -> None:
        """The model has read tokens into the memory."""
        mask, positions = given.get("attention_mask"), given.get("position_ids")
        if ids is None:
            self._strange = "embeddings, whose token ids nobody knows"
        elif mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2):
            self._strange = "a mask of another form than [B, n]"
        elif positions is not None and positions.dim() != 2:
            self._strange = "positions of another form than [B, t]"
        if ids is None or self._strange:
            return
        new, layer = ids.shape[1], next(iter(memory.managed), None)
        there = None if mask is None else mask[:, mask.shape[1] - new :].bool().cpu()
        said = {name: given[name].cpu() for name in memory.policy.said if given.get(name) is not None}
        generated = layer is not None and layer.settled and layer.generated > 0
        self._keyword = keyword
        self.events.append(Given(_kept(ids), there, None if positions is None else positions.cpu(), said, generated))
        if layer is not None and layer.settled and not generated:
            self.events.append(SETTLED)

    def rebuild(self, memory: KVMemory, count: int) -> None:
        """Reads again all but the newest `count` tokens, so that the memory is what it would be without them. Raises `Invalid` where not all ids are
        known; where the model fails meanwhile, the memory is empty."""
        if self._strange:
            raise Invalid(f"cannot take back {count} tokens: the model was given {self._strange}, which cannot be read again; fork() the memory "
                          "before what shall be taken back")  # fmt: skip
        if self.known != (held := memory.get_seq_length()):
            raise Invalid(f"cannot take back {count} tokens: the memory holds {held}, and the ids of {self.known} are known; "
                          "say what it holds by memory.rollback.give(ids)")  # fmt: skip
        events, drafts, started = [*self._in_blocks(_without(self.events, count))], memory.drafts, self.clock()
        memory.close()
        try:
            self._read(memory, events)
        except BaseException:
            memory.close()
            raise
        finally:
            memory.drafts = drafts
        self.count, self.tokens, self.seconds = self.count + 1, self.tokens + self.known, self.seconds + self.clock() - started

    def _in_blocks(self, events: Sequence[Event]) -> Iterator[Event]:
        """The same with generated tokens together, `block` at a time."""
        whole: list[Event] = []
        for event in events:
            last = whole[-1] if whole else None
            both = last.then(event) if isinstance(last, Given) and isinstance(event, Given) else None
            whole[-1:] = [both] if both is not None else ([] if last is None else [last]) + [event]
        for event in whole:
            if isinstance(event, Given) and event.generated:
                yield from (event.some(start, start + self.block) for start in range(0, event.length, self.block))
            else:
                yield event

    def _read(self, memory: KVMemory, events: Sequence[Event]) -> None:
        device = self._base.get_input_embeddings().weight.device
        padded = any(isinstance(event, Given) and event.there is not None for event in events)
        read: list[Tensor] = []
        for event, after in pairwise([*events, SETTLED + " or not"]):
            if isinstance(event, Protected):
                memory.protect(event.start, event.stop)
            elif not isinstance(event, Given):
                memory.settle()
            else:
                read.append(torch.ones_like(event.ids, dtype=torch.bool) if event.there is None else event.there)
                more: dict[str, Any] = {name: said.to(device) for name, said in (event.said or {}).items()}
                if padded:
                    more["attention_mask"] = torch.cat(read, 1).long().to(device)
                if event.positions is not None:
                    more["position_ids"] = event.positions.to(device)
                memory.drafts = event.length
                memory.last_chunk = None if event.generated else after == SETTLED
                with torch.no_grad():
                    self._base(input_ids=event.ids.long().to(device), use_cache=True, **{self._keyword: memory}, **more)


def _note(base: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """After the model has read: tells the memory's rollback what."""
    for name, memory in kwargs.items():
        if isinstance(rollback := getattr(memory, "rollback", None), Rollback):
            rollback.note(memory, name, kwargs.get("input_ids", args[0] if args else None), kwargs)


def _without(events: Sequence[Event], count: int) -> list[Event]:
    """The same without the newest `count` tokens, and what happened after the last that is left; a prompt that has lost its end has none."""
    left = [*events]
    while count:
        event = left.pop()
        if isinstance(event, Given):
            taken = min(count, event.length)
            left += [event.some(0, event.length - taken)] if taken < event.length else []
            count -= taken
    return left


def _kept(ids: Tensor) -> Tensor:
    return ids.to("cpu", torch.int32, copy=True)


def _rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Of each row its own; what is said of all rows at once stays."""
    return tensor if len(tensor) == 1 and int(index.max()) > 0 else tensor.index_select(0, index.cpu())
