"""The path of reasoning that a record leads to: triples, then an action or a claim that answers the query.

Without a model it comes from structured fields, and from patterns over the text; a model's paths (`derivation`) have the same form.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from mnemos.index.terms import STOP_WORDS, term, words
from mnemos.kernel.guard.actions import EFFECTS, Action, Effect, of_answer, of_call, of_phrase
from mnemos.kernel.guard.language import MAX_CHARACTERS, Sentence, content, read, sentences, terms_of
from mnemos.kernel.guard.records import Candidate, ToolCall

EXTRACTOR = "pattern:1"
"""Names the extractor in the log of decisions; changes whenever the same text gives another path."""
MAX_TRIPLES = 12
"""Triples kept of one record, the first ones: as many as a paragraph has."""
_OBJECT_WORDS = 12

_RELATIONS = """
is are was were be been am has have had do does did can could will would may might must should shall become became remain remained mean means
live lives lived reside resides resided work works worked bear born die died marry married move moved like likes liked love loves loved hate hates
prefer prefers preferred want wants wanted need needs needed know knows knew own owns owned use uses used make makes made give gives gave take takes
took get gets got go goes went come comes came say says said tell tells told write writes wrote written play plays played sing sang record records
recorded release releases released direct directs directed produce produces produced found founded create creates created build builds built win wins
won lose loses lost lead leads led begin begins began start starts started end ends ended contain contains contained include includes included
consist consists comprise comprises comprised locate located situate situated call called name named cost costs cause causes caused treat treats
treated require requires required allow allows allowed deny denies denied store stores stored grow grows grew produce send sends sent pay pays paid
buy buys bought sell sells sold delete deletes deleted show shows showed see sees saw hold holds held belong belongs belonged eat eats ate drink drank
study studies studied teach teaches taught speak speaks spoke publish publishes published premiere premiered appear appears appeared star starred
portray portrays portrayed serve serves served represent represents represented establish established introduce introduced develop developed
discover discovered invent invented design designed compose composed consider considered know known refer referred support supports supported
"""
_IS_RELATION = frozenset(_RELATIONS.split())
_FUNCTIONAL = terms_of(["live", "reside", "work", "born", "die", "marry", "move", "locate", "situate", "belong", "name", "call", "cost", "own"])
"""Relations that a subject has to one object at a time: another object contradicts."""

_BRACKET = re.compile(r"\b(?:Action|Act|Call|Tool)\s*\d*\s*[:=]\s*([A-Za-z_][\w.]{0,63})\s*[\[(]([^\[\]()\n]{0,400})[\])]")
_CALL = re.compile(r"\b([A-Za-z][\w.]{1,63})\(((?:[^()\n]{0,400}))\)")
_ARGUMENT = re.compile(r"([A-Za-z_]\w{0,63})\s*=\s*(\"[^\"]*\"|'[^']*'|[^,]+)")
_FIRST_VERBS = "|".join(sorted(EFFECTS, key=len, reverse=True))
_REST = r"((?:[^.;\n]|\.(?=\S)){0,200})"
_STEP = re.compile(rf"(?:[:,]|->|→|=>)\s*(?:\w+ly\s+)?({_FIRST_VERBS})\b{_REST}", re.IGNORECASE)
_AFTER_WORD = re.compile(r"\b(?:action|did|do|steps?|then|instead|solution|procedure)\s*\Z", re.IGNORECASE)
_DIRECTIVE = re.compile(rf"\b(?:please|you (?:must|should|need to|have to|are to)|always|(?:must|should) (?:always|instead|first))\s+"
                        rf"(?:(?:\w+ly|always|just|first|instead|now)\s+){{0,2}}({_FIRST_VERBS})\b{_REST}", re.IGNORECASE)  # fmt: skip
_IMPERATIVE = re.compile(
    rf"(?:\w+ly,?\s+)?({_FIRST_VERBS})\s+(?=(?:the|an?|all|any|this|these|my|your|our|it|them|to)\b|[$\d\"'‘“]){_REST}", re.IGNORECASE
)
_TOLD = re.compile(r"please|you |always|must|should", re.IGNORECASE)
_ANSWER = re.compile(r"\b(?:final answer|answer)\s*(?:is|:|=)\s*(?:originally\s+)?([^\n.;,]{1,120})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Triple:
    """subject –relation→ object, as terms (hashes of stems). `figures` are its numbers, `negated` says that it is denied."""

    subject: frozenset[int]
    relation: frozenset[int]
    object: frozenset[int]
    figures: frozenset[str] = frozenset()
    negated: bool = False
    functional: bool = False
    words: tuple[str, str, str] = ("", "", "")
    """The same in words, for people who inspect it; never part of a prompt."""

    @property
    def terms(self) -> frozenset[int]:
        return self.subject | self.relation | self.object


@dataclass(frozen=True, slots=True)
class Path:
    """What a record leads to. `directive` says that its text tells the reader what to do; `derivation` who derived the path."""

    triples: tuple[Triple, ...] = ()
    action: Action | None = None
    terms: frozenset[int] = frozenset()
    """All content terms of the record."""
    keys: frozenset[int] = frozenset()
    """Its names and numbers: what a claim turns on."""
    pairs: frozenset[int] = frozenset()
    """Its neighbouring content terms, two by two."""
    sentences: tuple[Sentence, ...] = ()
    directive: bool = False
    derivation: str = EXTRACTOR
    unread: int = field(default=0)
    """Characters beyond those that are read."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to compare."""
        return not self.triples and self.action is None


def path_of(record: Candidate, effects: Mapping[str, Effect] | None = None) -> Path:
    """The path of a record, from its structured calls where it has some, else from its text."""
    text = record.text[:MAX_CHARACTERS]
    calls = record.calls
    found = of_call(calls[-1], effects) if calls else None
    directed = False
    if found is None:
        found, directed = action_in(text, effects)
    read_ = tuple(read(text))
    return Path(
        triples=tuple(itertools.islice((triple for sentence in read_ if (triple := _triple(sentence)) is not None), MAX_TRIPLES)),
        action=found,
        terms=frozenset().union(*(sentence.terms for sentence in read_)),
        keys=frozenset().union(*(sentence.keys for sentence in read_)),
        pairs=frozenset().union(*(pairs_of(content(sentence.words)) for sentence in read_)),
        sentences=read_,
        directive=directed,
        unread=max(0, len(record.text) - MAX_CHARACTERS),
    )


def action_in(text: str, effects: Mapping[str, Effect] | None = None) -> tuple[Action | None, bool]:
    """(the action that a text leads to, whether it is told to the reader). An instruction goes before a call that is told of, the last one
    before the first, and anything before an answer: what stands last in a prompt is what is done."""
    told = [*_DIRECTIVE.finditer(text)] if _TOLD.search(text) else ()
    if told:
        return of_phrase(told[-1][1], told[-1][2], effects), True
    calls = [call for call in map(_call, [*_BRACKET.finditer(text), *_CALL.finditer(text)]) if call is not None] or _json_calls(text)
    if calls:
        return of_call(calls[-1], effects), False
    steps = [match for match in _STEP.finditer(text) if _is_step(text, match)]
    steps = steps or [match for part in sentences(text) if (match := _IMPERATIVE.match(part))]
    if steps:
        return of_phrase(steps[-1][1], steps[-1][2], effects), False
    answers = _ANSWER.findall(text)
    return (of_answer(answers[-1]), False) if answers else (None, False)


def _is_step(text: str, match: re.Match[str]) -> bool:
    """Whether what stands before the colon, comma or arrow says that a step follows."""
    return match[0][0] in "-→=" or bool(_AFTER_WORD.search(text, max(0, match.start() - 24), match.start()))


def _call(match: re.Match[str]) -> ToolCall | None:
    """The call that is written as `tool(name=value, …)` or `Action: Tool[value]`; None for prose with brackets."""
    tool, inside = match[1], match[2].strip()
    named = _ARGUMENT.findall(inside)
    if match.re is _CALL and not named and not ("_" in tool and (not inside or inside[0] in "\"'" or inside.isalnum())):
        return None
    arguments: dict[str, Any] = {name: value.strip().strip("\"'") for name, value in named}
    return ToolCall(tool, arguments if named or not inside else {"value": inside.strip("\"'")})


def _json_calls(text: str) -> list[ToolCall]:
    """Calls written as one JSON object for each line, or as the whole text."""
    found = []
    for part in [text, *text.splitlines()]:
        part = part.strip()
        if part[:1] in "{[" and part[-1:] in "}]":
            try:
                value = orjson.loads(part)
            except orjson.JSONDecodeError:
                continue
            found += [call for item in (value if isinstance(value, list) else [value]) if (call := ToolCall.of(item)) is not None]
            if found:
                return found
    return found


def _triple(sentence: Sentence) -> Triple | None:
    """Subject, relation and object: what stands before the first verb of the list, it, and what stands after it."""
    run = sentence.words
    at = next((i for i, word in enumerate(run) if word in _IS_RELATION and any(w not in STOP_WORDS for w in run[:i])), None)
    if at is None:
        return None
    after = at + 1
    while after < len(run) and run[after] in _IS_RELATION and (run[after] not in STOP_WORDS or run[at] in STOP_WORDS):
        after += 1  # "was born", "has been released": the last of them says what it is
    relation = content(run[at:after]) or [run[after - 1]]
    subject, thing = content(run[:at]), content(run[after:])[:_OBJECT_WORDS]
    if not thing:
        return None
    figures = frozenset(word for word in thing if word in sentence.figures)
    terms = terms_of(relation)
    shown = (" ".join(subject), " ".join(relation), " ".join(thing))
    return Triple(terms_of(subject), terms, terms_of(thing), figures, sentence.negated, bool(terms & _FUNCTIONAL), shown)


def pairs_of(found: Sequence[str]) -> frozenset[int]:
    """Each two neighbours of folded words, as one number."""
    terms = [term(word) for word in found]
    return frozenset(a << 32 | b for a, b in itertools.pairwise(terms))


@lru_cache(maxsize=4096)
def query_terms(query: str) -> frozenset[int]:
    """The content terms of a query; all of its terms where it has no others."""
    found = terms_of(content(words(query[:MAX_CHARACTERS])))
    return found or frozenset(map(term, words(query[:MAX_CHARACTERS])))
