"""Transformations of texts into texts: summary, merge, profile. Without a language model, or, for summaries, with one where the store has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.lineage import DERIVED_FROM, MERGED, SUMMARISED
from mnemos.base.protocols import ChatModel
from mnemos.kernel.transforms import gates
from mnemos.kernel.transforms.gates import Product, Source
from mnemos.kernel.transforms.transformation import Transformation
from mnemos.text.agreement import Memory
from mnemos.text.merging import combined
from mnemos.text.profile import profile, profile_text
from mnemos.text.summary import Passage, request, summarise
from mnemos.text.tokens import count_tokens

if TYPE_CHECKING:
    from mnemos.kernel.system import Mnemos

SHORTEST, SHARE = 60, 0.25
"""Without a budget a summary has this share of its sources' tokens, and at least so many."""
PROFILE_TOKENS = 600


def _in_order(sources: Sequence[Source]) -> list[Source]:
    """Sources in order of time: of the event, else of writing."""
    return sorted(sources, key=lambda s: (s.content.event_at if s.content.event_at is not None else s.content.created_at, s.content.id))


def _summary(system: Mnemos, sources: Sequence[Source], options: Mapping[str, Any]) -> Product:
    ordered = _in_order(sources)
    passages = [Passage(source.text, source.content.author) for source in ordered]
    budget = options.get("budget") or max(SHORTEST, int(SHARE * sum(count_tokens(source.text) for source in ordered)))
    if options.get("by") == "model":
        if not isinstance(system.chat, ChatModel):
            raise ModelUnavailable("summary by a model: the store was opened without one; give `chat` to `mnemos.open`, or leave out by='model'")
        text = system.chat.complete([request(passages, budget)], max_tokens=2 * budget)[0].strip()
    elif options.get("by") in (None, "sentences"):
        embedder = system.embedding.embedder if options.get("vectors") else None
        text = summarise(passages, budget=budget, embed=embedder.embed if embedder is not None else None).text
    else:
        raise Invalid(f"by: expected 'sentences' or 'model', not {options['by']!r}")
    return Product(text, fields={"type": "summary"})


def _merge(system: Mnemos, sources: Sequence[Source], options: Mapping[str, Any]) -> Product:
    return Product(combined([source.text for source in _in_order(sources)]), fields={"type": _common(sources)})


def _common(sources: Sequence[Source]) -> str:
    """The type that all sources have, else that of the fullest."""
    return max(sources, key=lambda source: len(source.text)).content.type


def _profile(system: Mnemos, sources: Sequence[Source], options: Mapping[str, Any]) -> Product:
    ordered = _in_order(sources)
    memories = [
        Memory(s.text, s.content.author, s.content.type, s.content.tags, s.content.entities, s.content.event_at, number)
        for number, s in enumerate(ordered)
    ]  # fmt: skip
    people = profile(memories)
    text = profile_text(people, options.get("budget") or PROFILE_TOKENS)
    return Product(text, fields={"type": "profile", "entities": [person.name for person in people]})


_SAFE = (gates.sources_in_use, gates.same_readers)
_TOLD = (gates.not_empty, gates.within_budget, gates.adds_nothing, gates.sensitivity_kept)

SUMMARY = Transformation(
    "summary", "the sentences that stand for the rest, or a model's words for them", _summary, relation=SUMMARISED,
    before=_SAFE, after=(*_TOLD, gates.covers_key_phrases, gates.names_entities), options=("budget", "by", "vectors"),
)  # fmt: skip
MERGE = Transformation(
    "merge", "overlapping memories as one, which takes their place", _merge, relation=MERGED, absorbs=True, fewest=2,
    before=_SAFE, after=(*_TOLD, gates.covers_words), options=("budget",),
)  # fmt: skip
PROFILE = Transformation(
    "profile", "what is known of each person, by attribute, with its newest value", _profile, relation=DERIVED_FROM,
    before=_SAFE, after=(gates.not_empty, gates.within_budget, gates.sensitivity_kept), options=("budget",),
)  # fmt: skip
