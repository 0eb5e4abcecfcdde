"""Asking the store's language model about what a space knows: a context that takes what of it was read before, and says what that saved.

In the order of the context (the default) the prompt is the context as it is, and its beginning is taken to the token where a prompt began so before.
Where the order of sources is free they stand as texts by themselves: first what the model has read already, then what is used most, so that prompts
have long beginnings in common; the first text is taken from its KV memory. Both are exact: the model says what it would say to the same prompt if
nothing were kept. The other modes put the KV memories of all texts together (`mnemos.activation.fragments`), which is approximate.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mnemos.base.errors import Invalid, StoreFull, shown
from mnemos.base.ids import parse_id
from mnemos.base.protocols import LanguageModel, Piece
from mnemos.kernel.kv.ahead import turn
from mnemos.kernel.kv.entries import entries
from mnemos.kernel.kv.quotas import housed
from mnemos.kernel.kv.reading import UNKEPT, Read, language_model, tokens_of
from mnemos.kernel.kv.results import Said
from mnemos.kernel.kv.shapes import FULL_SHAPE
from mnemos.kernel.kv.tier import TIER, line_of, tier_of
from mnemos.kernel.life import heat
from mnemos.kernel.reading.conditions import count, question_text
from mnemos.kernel.reading.results import Context

if TYPE_CHECKING:
    from mnemos.activation.memory import KVMemory
    from mnemos.kernel.kv.prompts import Begun
    from mnemos.kernel.kv.shelf import KVShelf
    from mnemos.kernel.space import Space

ORDERS = ("context", "reuse")
MODES = ("exact", "rerotated", "blended")
FORM = "Question: {question}\nAnswer:"


@dataclass(frozen=True)
class Asking:
    """How a model is asked about a context."""

    order: str = "context"
    """"context": the sources as the context gives them, in order of time, numbered; "reuse": as texts, what is warm and used most first."""
    mode: str = "exact"
    """"exact", or how KV memories of all texts are put together: "rerotated", "blended" (only in the order "reuse")."""
    share: float = 0.15
    """Of the tokens, that are read again where they are blended, 0 … 1 (CacheBlend, arXiv 2405.16444, section 4.2)."""
    budget_tokens: int = 1500
    """What the sources may take, in tokens of the model; as `Space.context` has it."""
    form: str = FORM
    """What stands after the sources; the question in place of {question}."""
    keep: bool = True
    """Whether a prompt that begins as one did before is kept, where the caller may write and that pays."""

    def __post_init__(self) -> None:
        if self.order not in ORDERS or self.mode not in MODES:
            raise Invalid(f"ask: the order is one of {', '.join(ORDERS)}, not {shown(self.order)}; the mode one of {', '.join(MODES)}, "
                          f"not {shown(self.mode)}")  # fmt: skip
        if self.mode != "exact" and self.order != "reuse":
            raise Invalid(f"ask: in the order of the context there are no texts by themselves to be put together as {shown(self.mode)}: "
                          'say order="reuse"')  # fmt: skip
        if "{question}" not in self.form:
            raise Invalid("ask: the form has no {question}: the model would not be asked")


class Told(Said):
    """What the model says to a question, and what of the prompt it had read before."""

    def __init__(self, stream: Iterator[Piece], reused: Reused) -> None:
        super().__init__(stream)
        self.reused = reused


@dataclass(frozen=True, slots=True)
class Reused:
    """What of a prompt was not read again."""

    sources: tuple[str, ...]
    """The memories that the prompt holds, in its order."""
    tokens: int
    """Of the whole prompt."""
    taken: int
    """Tokens that were taken from what was kept."""
    warm: tuple[str, ...]
    """The texts that were taken from their KV memories."""
    seconds: float
    """From having the context to knowing the first token."""
    saved: float | None
    """Seconds that reading what was taken would have taken, by the scheduler's measurements, less those of taking it; None where nothing was measured
    yet."""

    @property
    def read(self) -> int:
        """Tokens that were read now, the question's among them."""
        return self.tokens - self.taken

    def as_json(self) -> dict[str, Any]:
        told = {name: list(value) if isinstance(value := getattr(self, name), tuple) else value for name in self.__slots__}
        return {**told, "read": self.read}


@dataclass(frozen=True, slots=True)
class _Text:
    """A source by itself: its tokens, the first `head` of which begin any text; whether they are kept, and how much it is used."""

    id: UUID
    tokens: tuple[int, ...]
    head: int
    warm: bool
    heat: float


@dataclass(frozen=True, slots=True)
class _Begun:
    """A prompt that is to be read on: what its memory holds, how much of that was kept, and of which texts by themselves."""

    memory: KVMemory
    tokens: list[int]
    rest: list[int]
    taken: int
    sources: list[UUID]
    warm: list[UUID]
    prompt: Begun | None
    """None where the memory is put together, and no prefix."""
    first: _Text | None = None
    """The text with which it begins, where that is not kept by itself."""


def ask(shelf: KVShelf, question: str, how: Asking, where: Mapping[str, Any], settings: Mapping[str, Any]) -> Told:
    """See `KVShelf.ask`."""
    from mnemos.activation.published import read_on, with_tokens

    space, model = shelf.space, language_model(shelf.space.system)
    question, tier = question_text(question), tier_of(shelf.space.system)

    def counted(text: str) -> int:
        return len(model.encode(text, special=False))

    context = space.context(question, count(how.budget_tokens, "budget_tokens"), tokenizer=counted, **where)
    after = how.form.replace("{question}", question.strip())
    together = how.mode != "exact"  # taking several texts is a turn by itself
    with contextlib.nullcontext() if together else turn(space, tier, [parse_id(hit.cube.id) for hit in context.hits]):
        start = time.perf_counter()
        if how.order == "context" or not context.hits:
            begun = _in_order(shelf, context, after)
        else:
            texts, tail = _texts(shelf, model, context, how.budget_tokens), model.encode(after, special=False)
            begun = _put_together(shelf, texts, tail, how) if together else _first_warm(shelf, model, texts, tail)
        taking = time.perf_counter() - start
        read = read_on(model, begun.rest, begun.memory)
        first = time.perf_counter() - start
        if begun.prompt is not None:
            _measured(space, model, begun, taking, first)
            if begun.first is not None and shelf.may_write():
                _was_read(shelf, model, begun.first, begun.memory, first / len(begun.tokens))
            if how.keep and _comes_again(shelf, model, begun):
                with contextlib.suppress(StoreFull, *UNKEPT):  # to keep it is a help, and no more
                    shelf.keep(begun.prompt, begun.memory, begun.sources)
                    space.system.scheduler.observe(TIER, "build", model.kv_bytes(len(begun.rest)), time.perf_counter() - start - taking)
        begun.memory.settle()
        tier.let_go(space.system)
    cost = space.system.scheduler.cost(TIER, model.kv_bytes(begun.taken)) if begun.taken else None
    reused = Reused(tuple(map(str, begun.sources)), len(begun.tokens), begun.taken, tuple(map(str, begun.warm)), first,
                    0.0 if not begun.taken else None if cost is None else cost.without - taking)  # fmt: skip
    return Told(model.generate((), with_tokens(read, begun.tokens), **settings), reused)


def _in_order(shelf: KVShelf, context: Context, after: str) -> _Begun:
    """The context as it is, and its beginning from prompts that began so."""
    prompt: list[Context | str] = [context, f"\n{after}"] if context.hits else [after]
    begun = shelf.begun(prompt)
    sources = [parse_id(hit.cube.id) for hit in context.hits]
    return _Begun(begun.memory, begun.tokens, begun.rest, begun.taken, sources, [], begun)


def _texts(shelf: KVShelf, model: LanguageModel, context: Context, budget: int) -> list[_Text]:
    """The sources of a context as texts by themselves, the best of them as far as the budget reaches: first those that are kept, then those that are
    used most."""
    system, ids = shelf.space.system, [parse_id(hit.cube.id) for hit in context.hits]
    kept = {entry.source for entry in entries(shelf.space) if entry.state == "ready" and not entry.digest}
    with system.snapshot() as snapshot:
        known, now = snapshot.heat(ids), system.clock()
    texts: list[_Text] = []
    left = budget
    for hit, id in sorted(zip(context.hits, ids, strict=True), key=lambda each: -each[0].score):
        tokens, head = tokens_of(model, hit.cube.text)
        if len(tokens) - head <= left or not texts:
            left -= len(tokens) - head
            use = heat.joined(known.get(id, heat.COLD), system.tracker.peek(id))
            texts.append(_Text(id, tokens, head, str(id) in kept, heat.at(use, now)))
    return sorted(texts, key=lambda text: (not text.warm, -text.heat, text.id))


def _prompt(texts: Sequence[_Text], tail: Sequence[int] = ()) -> list[int]:
    return [token for number, text in enumerate(texts) for token in text.tokens[text.head if number else 0 :]] + list(tail)


def _first_warm(shelf: KVShelf, model: LanguageModel, texts: list[_Text], tail: list[int]) -> _Begun:
    """The sources in the order in which most of their beginning is kept, which is taken: of a prompt, or the first text from its KV memory."""
    ordered = _longest(shelf, texts)
    tokens, ids, first = _prompt(ordered, tail), [text.id for text in ordered], ordered[0]
    begun = shelf.begun(tokens)
    if first.warm and begun.taken < len(first.tokens) and _pays(shelf, model, len(first.tokens)):
        given, kept = shelf.given(first.id)
        if kept and given.tokens == first.tokens:
            memory = housed(shelf.space, given.memory)
            return _Begun(memory, tokens, tokens[len(given.tokens) :], len(given.tokens), ids, ids[:1], replace(begun, memory=memory))
    return _Begun(begun.memory, tokens, begun.rest, begun.taken, ids, [], begun, None if first.warm else first)


def _was_read(shelf: KVShelf, model: LanguageModel, text: _Text, memory: KVMemory, rate: float) -> None:
    """The first text of a prompt was used by itself, too: where the scheduler says so, it is kept as the prompt's memory has it. `rate`: seconds that
    a token took."""
    from mnemos.activation.memory import KVMemory
    from mnemos.activation.published import fill

    if len(memory.managed) != len(memory.layers):  # layers of limited sight do not hold the beginning any more
        return
    count, alone = len(text.tokens), KVMemory.of(model.module)
    fill(alone, [(layer.tail.keys[:, :, :count], layer.tail.values[:, :, :count]) for layer in memory.managed])
    shelf.was_read(text.id, model.kv_bytes(count), FULL_SHAPE, Read(text.tokens, alone, text.head, rate * count))


def _longest(shelf: KVShelf, texts: list[_Text]) -> list[_Text]:
    """Text by text, that with which the prompt goes on as one did before; the others behind them as they are given."""
    ordered: list[_Text] = []
    left = list(texts)
    while left:
        begins = len(_prompt(ordered))
        reached = [(shelf.begins(_prompt([*ordered, text])) - begins, -place) for place, text in enumerate(left)]
        length, place = max(reached)
        if length < len(left[-place].tokens) - left[-place].head:
            break
        ordered.append(left.pop(-place))
    return [*ordered, *left]


def _put_together(shelf: KVShelf, texts: list[_Text], tail: list[int], how: Asking) -> _Begun:
    """All texts from their KV memories, one after the other."""
    given = shelf.taken([text.id for text in texts], how.mode, how.share, policy="full")
    ids = [text.id for text in texts]
    return _Begun(given.memory, [*given.tokens, *tail], tail, given.taken, ids, [text.id for text in texts if text.warm], None)


def _measured(space: Space, model: LanguageModel, begun: _Begun, taking: float, first: float) -> None:
    """Tells the scheduler what taking a prompt's beginning took, or reading it; texts by themselves tell it themselves."""
    if begun.taken and not begun.warm:
        space.system.scheduler.observe(TIER, "within", model.kv_bytes(begun.taken), taking)
    elif not begun.taken and len(begun.rest) == len(begun.tokens):
        space.system.scheduler.observe(TIER, "without", model.kv_bytes(len(begun.tokens)), first)


def _pays(shelf: KVShelf, model: LanguageModel, tokens: int) -> bool:
    """Whether taking so many tokens costs less than reading them, as far as that was measured."""
    cost = shelf.space.system.scheduler.cost(TIER, model.kv_bytes(tokens))
    return cost is None or cost.saved > 0


def _comes_again(shelf: KVShelf, model: LanguageModel, begun: _Begun) -> bool:
    """Whether to keep a prompt: one began as it does up to the end of the first chunk that is not kept, and taking so much pays."""
    from mnemos.kernel.kv.prompts import CHUNK  # torch, only where it is needed

    if begun.prompt is None or shelf.space.system.store.inside or not shelf.may_write():
        return False
    end = begun.prompt.taken // CHUNK * CHUNK + CHUNK
    if end > len(begun.tokens):
        return False
    began = hashlib.sha256(json.dumps([line_of(shelf.space), begun.tokens[:end]]).encode()).hexdigest()
    return tier_of(shelf.space.system).again(began) and _pays(shelf, model, end)
