"""Tallies: how many of a thing somebody has, drawn from what she told of getting and parting with it (12 eggs bought, 3 used: 9 left).

The motivating case of Think-in-Memory (arXiv 2311.08719, section 1): a conclusion over several turns that is drawn once, kept, and recalled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mnemos.index.terms import fold
from mnemos.text.agreement.tokens import Token, tokens
from mnemos.text.agreement.values import dimension, number_of, ordinal, read_value, stems
from mnemos.text.agreement.words import EMPTY, FORMS, PREPOSITIONS, word_set
from mnemos.text.thoughts.thought import INFERENCE, Thought

_HOLDS = word_set("have own hold keep")
_GAINS = word_set("buy get receive pick collect find harvest gather earn win add order adopt")
_LOSSES = word_set("use eat sell give break drop lose bake cook drink spend donate throw burn share")
_REST = word_set("rest remainder remaining others")
_NOT_THINGS = word_set("dollar euro pound yen percent time time people person year month week day hour minute second mile kilometer")
_OF_THEM = word_set("of the my our those these more")
_PRICE = re.compile(r"(?:for|at)\s+([$€£])\s?(\d+(?:\.\d+)?)\s+(?:each|apiece|per\s+\w+)", re.I)
_SO_FAR = re.compile(
    r"\b(?:so far|already|in total|altogether|until now|have (?:now )?\w+ed"
    r"|every|each (?:day|week|month|year|morning)|per|daily|weekly|an? (?:day|week|month|year)|usually|always)\b",
    re.I,
)
"""How many there are by now, or each time, and not how many more."""
_PLAN = re.compile(r"\b(?:will|would|could|should|might|may|want|wants|plan|plans|need|needs|going to|if|hope|hopes|used to|wish)\b", re.I)


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a tally: `change` is added to it, or, where it `sets`, is what it stands at. `rest`: all that was left went."""

    term: int
    """Of what is counted."""
    thing: str
    """The word for it, as it was written."""
    change: float
    sets: bool = False
    rest: bool = False
    price: float = 0.0
    """Got for each."""
    currency: str = ""


def steps(sentence: str, last: Step | None = None) -> list[Step]:
    """What a sentence in the first person tells of a number of things: `I used 3 eggs and sold 4`. Nothing for plans, questions and others' things.
    `last`: what was counted before, which `sold the rest` and `ate three` speak of."""
    if sentence.rstrip(" \"')").endswith("?") or _PLAN.search(sentence) or _SO_FAR.search(sentence):
        return []
    words = tokens(sentence)
    price = _PRICE.search(sentence)
    out: list[Step] = []
    speaking = False
    for at, word in enumerate(words):
        known = FORMS.get(word.low)
        if word.low in ("i", "we"):
            speaking = True
        elif word.low in (";", ".") or (word.capital and at and word.low not in EMPTY):
            speaking = speaking and word.low not in (";", ".")
        elif word.low in ("he", "she", "they", "you", "it"):
            speaking = False
        if known is None or not speaking or known[0] not in _HOLDS | _GAINS | _LOSSES:
            continue
        step = _step(words, at, known[0], out[-1] if out else last)
        if step is not None:
            sold = known[0] == "sell" and price is not None
            out.append(replace(step, price=float(price[2]), currency=price[1]) if sold and price is not None else step)
    return out


def _past(word: Token) -> bool:
    return word.low in FORMS and FORMS[word.low][1] == "past"


def _step(words: Sequence[Token], at: int, verb: str, last: Step | None) -> Step | None:
    """What the verb at `at` says of a number of things."""
    after = list(words[at + 1 : at + 8])
    end = next((i for i, word in enumerate(after) if word.low in (",", ";", "and", "but") or _past(word)), len(after))
    after = after[:end]
    if verb in _LOSSES and any(word.low in _REST for word in after):
        of = next((i + 1 for i, word in enumerate(after) if word.low == "of"), len(after))
        named = next((word for word in after[of:] if word.low not in EMPTY and word.low.isalpha()), None)
        if named is not None:
            return Step(stems(fold(named.low))[0], named.text, 0.0, rest=True)
        return None if last is None else Step(last.term, last.thing, 0.0, rest=True)
    number = next((i for i, word in enumerate(after) if number_of(word.low) is not None and not ordinal(word.low)), None)
    if number is None or number > 3 or (after[number - 1].low in PREPOSITIONS and number):
        return None
    while after[number + 1 : number + 2] and after[number + 1].low in _OF_THEM:
        del after[number + 1]
    value = read_value(after[number:])
    if not value.numbers or value.times:
        return None
    count, term = value.numbers[0]
    thing = next((word for word in after[number + 1 :] if word.low.isalpha() and stems(fold(word.low))[:1] == (term,)), None)
    if thing is None:
        if last is None or any(word.low.isalpha() and word.low not in EMPTY | PREPOSITIONS for word in after[number + 1 : number + 2]):
            return None
        term, shown = last.term, last.thing
    elif thing.low in _NOT_THINGS or thing.low.removesuffix("s") in _NOT_THINGS or dimension(thing.low) or thing.capital:
        return None
    else:
        shown = thing.text
    if verb in _HOLDS:
        return Step(term, shown, count, sets=True)
    return Step(term, shown, count if verb in _GAINS else -count)


def concluded(entries: Sequence[Thought]) -> Thought | None:
    """What follows from the entries of one tally, in the order of their time; None where nothing is added up: there is one entry, or nothing has
    gone since the number was told last, or more than there was."""
    entries = sorted(entries, key=lambda one: one.moment)
    if not entries or entries[0].count is None:
        return None
    term, _ = entries[0].count
    total: float | None = None
    sum_of, used, thing, earned = "", [], "", None
    for entry in entries:
        for step in steps(entry.quote, Step(term, thing, 0.0)):
            if step.term != term:
                continue
            thing = step.thing or thing
            if step.sets or (total is None and step.change > 0):
                total, sum_of, used, earned = step.change, _shown(step.change), [entry], None
                continue
            if total is None:
                return None
            change = -total if step.rest else step.change
            if step.price and change < 0:
                earned = (step.currency, -change * step.price)
            total += change
            sum_of += f" {'-' if change < 0 else '+'} {_shown(abs(change))}"
            used.append(entry)
            if total < 0:
                return None
    if total is None or "-" not in sum_of:  # what was only got may be counted twice: three so far, five so far
        return None
    author = entries[-1].author or ""
    told = f"{author[:1].upper() + author[1:]} has {_shown(total)} {thing} left"
    if earned is not None:
        told += f" and earned {earned[0]}{_shown(earned[1])} from selling {thing}"
    sources = tuple(dict.fromkeys(source for entry in used for source in entry.sources))
    return Thought(
        fold(author), f"how many {thing.lower()}", f"{_shown(total)} {thing.lower()}", f"{told}.", f"{told}.", author, INFERENCE,
        min(entry.confidence for entry in used), entries[-1].event_at, derived=f"{sum_of} {thing}", count=entries[0].count, sources=sources,
    )  # fmt: skip


def _shown(number: float) -> str:
    return f"{number:g}" if number < 1e6 else f"{number:.0f}"
