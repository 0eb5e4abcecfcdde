"""What the harness asks of a way to hold a context as tokens: the `Method` protocol, and what goes with it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import orjson

from mnemos.base.errors import Invalid
from mnemos.bench.scbench.records import Span
from mnemos.models.reference.language import END, IDS, VOCABULARY

Held = Sequence[Sequence[Collection[int]]]
"""For each layer and head, the positions of the tokens that can still be attended to."""


@dataclass(frozen=True, slots=True)
class Generation:
    """Generated tokens, without the one that stopped them; seconds to the first and for the others."""

    tokens: tuple[int, ...]
    first_seconds: float
    rest_seconds: float


@dataclass(frozen=True, slots=True)
class Stats:
    """What a handle holds. `resident` are bytes by tier ("device", "host", "disk"), `moved` the bytes that were copied or brought between tiers since
    the prefill, `length` the tokens that were read, `held` what is kept of them, where the method can tell. `peak` is the most that all tiers held
    together, as far as the method looks; `hits` the share of what was asked from a far tier that was near already."""

    resident: Mapping[str, int] = field(default_factory=dict)
    moved: int = 0
    length: int = 0
    held: Held | None = None
    peak: int | None = None
    hits: float | None = None


class Method(Protocol):
    """A way to hold a context and to answer from it. A handle is whatever the method wants it to be; only the method looks into it."""

    name: str
    query_aware: bool
    """Whether it must know the question when it reads the context: such methods are reported apart."""

    def prefill(self, tokens: Sequence[int], query: Sequence[int] = ()) -> Any:
        """A handle that has read the context and, of a query-aware method, the first question behind it."""
        ...

    def fork(self, handle: Any) -> Any:
        """Another handle in the same state: what happens to one does not reach the other."""
        ...

    def append(self, handle: Any, tokens: Sequence[int]) -> None:
        """Reads on."""
        ...

    def generate(self, handle: Any, n: int, stop: Collection[int] = ()) -> Generation:
        """Up to `n` tokens, the most likely ones, until one of `stop`. They stay in the handle."""
        ...

    def stats(self, handle: Any) -> Stats: ...

    def digest(self, handle: Any) -> str:
        """A hash of all that the handle's later answers depend on."""
        ...

    def release(self, handle: Any) -> None:
        """The handle is not used again."""
        ...


class Codec(Protocol):
    """Text to tokens and back. `places` gives the characters of each token, or None where the tokenizer does not tell."""

    def encode(self, text: str) -> list[int]: ...
    def decode(self, tokens: Sequence[int]) -> str: ...
    def places(self, text: str) -> list[Span] | None: ...


class CompactCodec:
    """The reference model's language: a word a token."""

    stop = (IDS[END],)

    def encode(self, text: str) -> list[int]:
        """Raises `Invalid` for a word outside the language."""
        try:
            return [IDS[word] for word in text.split()]
        except KeyError as unknown:
            raise Invalid(f"compact codec: {unknown.args[0]!r:.60} is no word of the compact language; is this a text record?") from unknown

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(VOCABULARY[token] for token in tokens)

    def places(self, text: str) -> list[Span]:
        out, at = [], 0
        for word in text.split():
            at = text.index(word, at)
            out.append((at, at + len(word)))
            at += len(word)
        return out


class TokenizerCodec:
    """A Hugging Face tokenizer, without special tokens added; `places` where it is a fast one."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        end = getattr(tokenizer, "eos_token_id", None)
        self.stop: tuple[int, ...] = () if end is None else (int(end),)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def places(self, text: str) -> list[Span] | None:
        if not getattr(self.tokenizer, "is_fast", False):
            return None
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return [(int(start), int(end)) for start, end in found]


@dataclass(frozen=True, slots=True)
class Template:
    """What stands around context, question and answer. Its digest goes with every result: a template can cut an answer short, and scores are only
    comparable under one."""

    name: str
    before_context: str = ""
    before_question: str = "\n\nQuestion: "
    before_answer: str = "\nAnswer: "
    after_answer: str = "\n"

    @property
    def digest(self) -> str:
        return hashlib.sha256(orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


PLAIN = Template("plain")
COMPACT_TEMPLATE = Template("compact", "", " ", " ", f" {END} ")
"""Questions of the compact rendering bring their own marks, up to `<a>`."""


def evidence_tokens(places: Sequence[Span], spans: Sequence[Span], first: int = 0) -> list[int]:
    """Positions of the tokens that touch a span of evidence, the context's first token standing at position `first`."""
    return [first + i for i, (start, end) in enumerate(places) if any(start < stop and end > begin for begin, stop in spans)]


def retention(held: Held, evidence: Collection[int]) -> float | None:
    """The share of evidence tokens that are held, averaged over layers and heads; None without evidence or layers."""
    wanted = set(evidence)
    shares = [len(wanted.intersection(head)) / len(wanted) for layer in held for head in layer] if wanted else []
    return sum(shares) / len(shares) if shares else None


