"""Generating: reading a prompt, then token by token, as a stream that can be stopped at any point and continued later."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Ended, Piece, Sampling
from mnemos.models.local.asked import begin
from mnemos.models.local.context import Prefilled
from mnemos.models.local.pieces import Detokenizer, StopText
from mnemos.models.local.reading import Reader
from mnemos.models.local.sampling import choose


@dataclass
class Written:
    """What was generated for one row."""

    tokens: list[int] = field(default_factory=list)
    """All that were chosen, the one that ended the row and those of a stop sequence included."""
    text: str = ""
    """Without control tokens, and up to the stop sequence."""
    ended: Ended | None = None
    """None while it goes on."""


@dataclass(frozen=True)
class Plan:
    """How a generation goes on and when it ends."""

    limits: tuple[int, ...]
    """By row: tokens at most."""
    ends: frozenset[int]
    """Tokens that end a row."""
    stop: tuple[str, ...]
    sampling: Sampling
    chunk: int | None
    cancelled: Callable[[], bool] | None


class Generation(Iterator[Piece]):
    """A stream of pieces, row by row, one token of each row at a time. Nothing is computed before the first is asked for.

    `written` grows with it; `context` is what has been read and what has not: give it to the next call as its cache, and that goes on after the
    last token that was generated. `cancel` ends all rows before their next token; so does leaving the stream alone.
    """

    def __init__(self, reader: Reader, past: Prefilled, rows: Sequence[Sequence[int]], plan: Plan, decode: Callable[[Sequence[int]], str]) -> None:
        self._reader, self._plan, self._rows = reader, plan, rows
        self._state = replace(past, pending=tuple(tuple(row) for row in rows))
        self._cancelled = False
        self.written = [Written() for _ in rows]
        self._texts = [(Detokenizer(decode), StopText(plan.stop)) for _ in rows]
        before = past.tokens if past.tokens is not None else ((),) * len(rows)
        self._seen = [{*known, *row} if plan.sampling.repetition_penalty != 1 else set[int]() for known, row in zip(before, rows, strict=True)]
        self._generators = [torch.Generator().manual_seed(plan.sampling.seed + number) for number in range(len(rows))]
        self._begun, self._broken, self._pieces = False, False, deque[Piece]()

    def __next__(self) -> Piece:
        if not self._pieces and not self._broken:
            self._broken = True  # unless it comes to its end: a memory may be half written
            self._pieces.extend(self._next_pieces())
            self._broken = False
        if not self._pieces:
            raise StopIteration
        return self._pieces.popleft()

    @property
    def context(self) -> Prefilled:
        """What the model has read so far; tokens that it has not read yet are `pending`."""
        if self._state.tokens is None:
            return self._state
        fed = [row.tokens[: len(row.tokens) - len(left)] for row, left in zip(self.written, self._state.pending, strict=True)]
        return replace(self._state, tokens=tuple((*prompt, *more) for prompt, more in zip(self._state.tokens, fed, strict=True)))

    @property
    def text(self) -> str:
        """Of a single row: what was written so far. Raises `Invalid` for a batch."""
        if len(self.written) != 1:
            raise Invalid(f"a batch of {len(self.written)} rows has no one text: look at `written`")
        return self.written[0].text

    def cancel(self) -> None:
        """Ends all rows that go on, before their next token. May be called from another thread."""
        self._cancelled = True

    def run(self) -> list[Written]:
        """Generates to the end, and gives what was written for each row."""
        for _ in self:
            pass
        return self.written

    def _stopped(self) -> bool:
        return self._cancelled or (self._plan.cancelled is not None and self._plan.cancelled())

    def _next_pieces(self) -> list[Piece]:
        """One of each row that goes on; none where all have ended. No generator: its frame and this object would hold each other, and with them the
        keys and values of a stream that was left alone."""
        if not self._begun:
            self._begun = True
            if any(self._rows):
                self._state, _ = self._reader.read(self._state, self._rows, self._plan.chunk, cancelled=self._stopped)
        elif self._state.logits is not None and any(row.ended is None for row in self.written):
            self._feed(self._state.logits.device)
        going, logits = [number for number, row in enumerate(self.written) if row.ended is None], self._state.logits
        if going and (logits is None or self._stopped()):
            return [self._end(number, "cancelled") for number in going]
        if not going or logits is None:
            return []
        generators, seen = [self._generators[number] for number in going], [self._seen[number] for number in going]
        tokens = choose(logits[going], self._plan.sampling, generators, seen)
        pieces = [self._taken(number, token) for number, token in zip(going, tokens, strict=True)]
        self._state = replace(self._state, pending=tuple(tuple(row.tokens[-1:]) for row in self.written))
        return pieces

    def _taken(self, number: int, token: int) -> Piece:
        """What the next token of a row adds to its text, and whether it ends it."""
        row, plan = self.written[number], self._plan
        row.tokens.append(token)
        if plan.sampling.repetition_penalty != 1:
            self._seen[number].add(token)
        if token in plan.ends:
            return self._end(number, "end", token)
        detokenizer, stops = self._texts[number]
        text = stops.add(detokenizer.add(token))
        row.text += text
        if stops.stopped:
            row.ended = "stop"
        elif len(row.tokens) >= plan.limits[number]:
            return self._end(number, "length", token, text)
        return Piece(number, token, text, row.ended)

    def _end(self, number: int, ended: Ended, token: int | None = None, text: str = "") -> Piece:
        """The last piece of a row, with all text that was held back."""
        row, (detokenizer, stops) = self.written[number], self._texts[number]
        rest = stops.add(detokenizer.finish())
        row.ended = "stop" if stops.stopped else ended
        rest += stops.finish()
        row.text += rest
        return Piece(number, token, text + rest, row.ended)

    def _feed(self, device: Any) -> None:
        """Lets the model read the newest token of each row that goes on; the others get a place without a token."""
        state, going = self._state, [row.ended is None for row in self.written]
        newest = [row.tokens[-1:] if on else [] for row, on in zip(self.written, going, strict=True)]
        if not self._reader.fits(state, newest):
            self._read_again()
            return
        ids = torch.tensor([new or [0] for new in newest], device=device)
        real = None if all(going) else torch.tensor(going, device=device).unsqueeze(1)
        after, _ = self._reader.step(state, ids, real)
        left = tuple(() if on else kept for on, kept in zip(going, state.pending, strict=True))
        self._state = replace(after, pending=left)

    def _read_again(self) -> None:
        """Beyond the switch of a LongRoPE model all keys are turned differently: they are made anew from the tokens."""
        known = self.context.tokens
        if known is None:
            raise Invalid(
                f"this model turns its keys differently beyond {self._reader.switch} tokens, and the tokens in the given cache are not known: "
                "give all of them as the prompt, with an empty cache"
            )
        prompt = self._state.tokens
        whole = [(*old, *new) for old, new in zip(known, self._state.pending, strict=True)]
        self._state.cache.reset()
        state, _ = self._reader.read(begin(self._state.cache, len(whole)), whole, self._plan.chunk)
        self._state = replace(state, tokens=prompt)


def limits_for(lengths: Sequence[int], max_tokens: int, window: int | None) -> tuple[int, ...]:
    """Tokens that may follow prompts of these lengths. Raises `Invalid` where one leaves no room in the model's window."""
    if max_tokens < 1:
        raise Invalid(f"max_tokens is {max_tokens}: use at least 1")
    if window is None:
        return (max_tokens,) * len(lengths)
    for number, length in enumerate(lengths):
        if length >= window:
            raise Invalid(
                f"row {number} has {length} tokens and the model was made for {window}, the answer included: "
                f"shorten the prompt by at least {length - window + 1}"
            )
    return tuple(min(max_tokens, window - length) for length in lengths)


def end_tokens(module: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end what a model says, by its configuration and its tokenizer."""
    configured = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    if configured is None:
        configured = getattr(module.config.get_text_config(), "eos_token_id", None)
    known = list(configured) if isinstance(configured, (list, tuple)) else [configured]
    return frozenset(int(token) for token in (*known, getattr(tokenizer, "eos_token_id", None)) if token is not None)
