"""What must hold before a transformation of memories is accepted. A gate looks at sources and product, measures, and says yes or no."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnemos.base.clock import from_micros
from mnemos.base.cube import Content, Json, State
from mnemos.index.terms import query_terms, term, words
from mnemos.kernel.rights.governance import label_level
from mnemos.kernel.scheduling.costs import Cost
from mnemos.text.key_phrases import key_phrases
from mnemos.text.tokens import TokenCounter, count_tokens

USABLE = (State.GENERATED, State.ACTIVATED, State.MERGED, State.ARCHIVED)
"""States of a source that something may be made of: neither expired nor in quarantine. What was forgotten has no state, and no text."""


@dataclass(frozen=True, slots=True)
class Source:
    """A version of a memory that something is made of."""

    content: Content
    text: str
    state: State
    stale: bool = False
    acl: Json | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """What was made: a text, or bytes of another kind, with the fields of the memory that it shall be (`Space.add`)."""

    text: str | None = None
    payload: bytes | None = None
    kind: str = "text"
    fingerprint: str | None = None
    """Of the model that the product belongs to; a product of another kind than text must have one."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost | None = None
    """Measured seconds of building and using it, where it saves any."""

    @property
    def size(self) -> int:
        """Bytes."""
        return len((self.text or "").encode()) + len(self.payload or b"")


@dataclass(frozen=True, slots=True)
class Trial:
    """What a gate looks at."""

    sources: Sequence[Source]
    product: Product
    options: Mapping[str, Any]
    count: TokenCounter = count_tokens


@dataclass(frozen=True, slots=True)
class Checked:
    """What one gate found. `why` may name words of the memories: it is told to the caller, and not kept."""

    gate: str
    held: bool
    measured: float | None = None
    bound: float | None = None
    why: str = ""

    def kept(self) -> dict[str, Any]:
        """What is kept of it with the decision: no words of any memory."""
        out: dict[str, Any] = {"gate": self.gate, "held": self.held}
        for name in ("measured", "bound"):
            value = getattr(self, name)
            if value is not None:
                out[name] = round(value, 4)
        return out


@dataclass(frozen=True, slots=True)
class Gate:
    """A condition by name. `check` gives what it measured and whether that keeps `bound`; a caller may give another bound."""

    name: str
    check: Callable[[Trial, float | None], Checked]
    bound: float | None = None

    def look(self, trial: Trial) -> Checked:
        """What the gate finds, with the bound that the options name for it, or its own."""
        return self.check(trial, trial.options.get("gates", {}).get(self.name, self.bound))


def _gate(bound: float | None = None) -> Callable[[Callable[[Trial, float | None], Checked]], Gate]:
    def made(check: Callable[[Trial, float | None], Checked]) -> Gate:
        return Gate(check.__name__.strip("_").replace("_", " "), check, bound)

    return made


# ---- of the sources -------------------------------------------------------------------------------------------------


@_gate()
def sources_in_use(trial: Trial, bound: float | None) -> Checked:
    """No source is expired, in quarantine, or itself made from something that has changed."""
    bad = [s for s in trial.sources if s.state not in USABLE or s.stale]
    states = ", ".join(sorted({"stale" if s.stale and s.state in USABLE else s.state.word for s in bad}))
    return Checked("sources in use", not bad, float(len(bad)), 0.0, f"{len(bad)} of {len(trial.sources)} sources are {states}" if bad else "")


@_gate()
def same_readers(trial: Trial, bound: float | None) -> Checked:
    """All sources may be read by the same: or the product would show somebody what a rule of its source forbids."""
    rules = {repr(source.acl) for source in trial.sources}
    why = "sources have different rules of who may read them" if len(rules) > 1 else ""
    return Checked("same readers", not why, float(len(rules)), 1.0, why)


@_gate()
def not_sensitive(trial: Trial, bound: float | None) -> Checked:
    """No source has a label of sensitivity: what is in weights cannot be shown to be gone."""
    level = max((label_level(source.content.sensitivity) for source in trial.sources), default=0)
    return Checked("not sensitive", level == 0, float(level), 0.0, "sensitive memories are never distilled into weights" if level else "")


# ---- of the product -------------------------------------------------------------------------------------------------


@_gate()
def not_empty(trial: Trial, bound: float | None) -> Checked:
    """Something was made."""
    held = bool((trial.product.text or "").strip() or trial.product.payload)
    return Checked("not empty", held, float(trial.product.size), 1.0, "" if held else "nothing was made")


@_gate()
def within_budget(trial: Trial, bound: float | None) -> Checked:
    """The text has at most the tokens that were asked for; without a budget, it is no longer than its sources together."""
    limit = trial.options.get("budget") or sum(trial.count(source.text) for source in trial.sources) + len(trial.sources)
    tokens = trial.count(trial.product.text or "")
    why = f"{tokens} tokens, at most {limit} were asked for" if tokens > limit else ""
    return Checked("within budget", not why, float(tokens), float(limit), why)


_PHRASES = 20


@_gate(0.4)
def covers_key_phrases(trial: Trial, bound: float | None) -> Checked:
    """Of the phrases that the sources turn on, weighted, the product says a share of at least `bound`."""
    said = {term(word) for word in words(trial.product.text or "")}
    phrases = key_phrases([source.text for source in trial.sources], _PHRASES)
    total = sum(phrase.weight for phrase in phrases)
    kept = sum(phrase.weight for phrase in phrases if {term(word) for word in words(phrase.text)} <= said)
    share = kept / total if total else 1.0
    missing = [phrase.text for phrase in phrases if not {term(word) for word in words(phrase.text)} <= said]
    return _at_least("covers key phrases", share, bound, f"misses {', '.join(missing[:5])}")


@_gate(0.95)
def covers_words(trial: Trial, bound: float | None) -> Checked:
    """Of the telling words of the sources, each weighted by how many of them hold it, the product says a share of at least `bound`."""
    said = {term(word) for word in words(trial.product.text or "")}
    spread = Counter(h for source in trial.sources for h in query_terms(source.text).hashes.tolist())
    total = sum(spread.values())
    share = sum(count for h, count in spread.items() if h in said) / total if total else 1.0
    return _at_least("covers words", share, bound, "too much of what the sources say is missing")


@_gate(0.5)
def names_entities(trial: Trial, bound: float | None) -> Checked:
    """Of the entities that the sources are said to be about, the product names a share of at least `bound`, in its text or its own list."""
    entities = {entity for source in trial.sources for entity in source.content.entities}
    said = set(words(trial.product.text or ""))
    own = set(trial.product.fields.get("entities") or ())
    missing = [entity for entity in sorted(entities) if entity not in own and not set(words(entity)) <= said]
    share = 1.0 - len(missing) / len(entities) if entities else 1.0
    return _at_least("names entities", share, bound, f"does not name {', '.join(missing[:5])}")


_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")
_NAME = re.compile(r"(?<![.!?…。\n]\s)(?<!^)\b[A-Z][\w'’-]+", re.M)


@_gate(0.05)
def adds_nothing(trial: Trial, bound: float | None) -> Checked:
    """Numbers and names of the text all stand in its sources, and of its telling words no more than a share of `bound` does not."""
    text = trial.product.text or ""
    sources = "\n".join(source.text for source in trial.sources)
    told = {term(word) for source in trial.sources for word in (*words(source.text), *_labels(source.content))}
    fresh = [h for h in query_terms(text).hashes.tolist() if h not in told]
    total = len(query_terms(text).hashes)
    numbers = set(_NUMBER.findall(text)) - set(_NUMBER.findall(sources)) - _allowed(trial)
    names = {name for name in _NAME.findall(text) if any(term(word) not in told for word in words(name))}
    share = len(fresh) / total if total else 0.0
    held = not numbers and not names and (bound is None or share <= bound)
    why = "" if held else f"says what its sources do not: {', '.join([*sorted(numbers), *sorted(names)][:5]) or f'{share:.0%} of its words'}"
    return Checked("adds nothing", held, 1.0 if numbers or names else share, bound, why)


def _labels(content: Content) -> list[str]:
    """The words that a source is told with beside its text: who says it, what it is about."""
    return [word for label in (content.author, *content.entities, *content.tags) if label for word in words(label)]


def _allowed(trial: Trial) -> set[str]:
    """Numbers that a product may have of itself: those of the times of its sources."""
    times = [from_micros(source.content.event_at) for source in trial.sources if source.content.event_at is not None]
    return {number for at in times for number in _NUMBER.findall(f"{at:%Y-%m-%d %H:%M %Y %m %d} {at.day} {at.month}")}


@_gate()
def sensitivity_kept(trial: Trial, bound: float | None) -> Checked:
    """The product's label of sensitivity is not below that of any source."""
    level = max((label_level(source.content.sensitivity) for source in trial.sources), default=0)
    own = label_level(trial.product.fields.get("sensitivity"))
    return Checked("sensitivity kept", own >= level, float(own), float(level), "" if own >= level else "the label is below that of a source")


@_gate()
def fingerprint_given(trial: Trial, bound: float | None) -> Checked:
    """A product that belongs to a model says to which one."""
    held = trial.product.kind == "text" or bool(trial.product.fingerprint)
    return Checked("fingerprint given", held, why="" if held else f"a product of kind {trial.product.kind!r} must say for which model it is")


@_gate()
def pays(trial: Trial, bound: float | None) -> Checked:
    """Building it pays within the expected uses (`reuse` in the options): n* = ⌈build / (full − injected)⌉ is at most that many."""
    cost, uses = trial.product.cost, trial.options.get("reuse")
    if cost is None or uses is None:
        return Checked("pays", False, why="neither what it costs nor how often it will be used is known")
    needed = cost.break_even
    held = needed is not None and needed <= uses
    why = "" if held else "it never pays" if needed is None else f"it pays from {needed} uses on"
    return Checked("pays", held, None if needed is None else float(needed), float(uses), why)


def _at_least(name: str, share: float, bound: float | None, why: str) -> Checked:
    held = bound is None or share >= bound
    return Checked(name, held, share, bound, "" if held else f"{share:.2f}, at least {bound:.2f} is asked for: {why}")
