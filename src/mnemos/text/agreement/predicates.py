"""The verb of a clause: what is done, whether it is affirmed, whether it holds, and what says that it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from mnemos.text.agreement.subjects import Subject
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.values import number_of
from mnemos.text.agreement.words import (
    ADVERBS,
    AUXILIARIES,
    BE,
    EMPTY,
    ENDERS,
    FORMS,
    INTENTIONS,
    MODALS,
    NEGATIONS,
    NOW,
    NOW_PHRASES,
    PAST_ADVERBS,
    PAST_PHRASES,
    PREPOSITIONS,
    SAME_PAST,
    UNSURE,
    form_of,
    word_set,
)

_AS_ADJECTIVES = word_set("engaged married divorced separated left based located")
"""Participles that say what somebody is, and not what was done to her."""
_BEFORE_VERBS = ADVERBS | NOW | word_set("i we")
_RELATIVE = word_set("last next this past earlier later")
_UNITS = word_set("day days week weeks weekend month months year years night morning afternoon evening summer winter spring fall autumn hour hours")
_DAYS = word_set("yesterday today tonight tomorrow recently lately")
_NOW_PHRASES = tuple(tuple(phrase.split()) for phrase in NOW_PHRASES)


class Standing(Enum):
    """How a clause holds."""

    STATE = "state"
    EVENT = "event"
    """Something that happened once."""
    PAST = "past"
    """What was so, and need not be so now."""
    PLAN = "plan"
    """What is intended, possible or wished."""


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause, taken apart."""

    subject: Subject
    verb: str
    """The main verb's base form."""
    positive: bool
    standing: Standing
    cue: str
    """What says that things changed: `now`, `no longer`, `started`, or nothing."""
    rest: tuple[Token, ...]
    """What follows the verb, without adverbs and negations."""
    perfect: bool = False
    passive: bool = False
    ongoing: bool = False
    """Whether it is said to go on just now (`I'm reading`)."""
    text: str = ""
    asserted: bool = True


def predicate(words: Sequence[Token], at: int, subject: Subject, cue: str, asserted: bool, text: str, bare: bool) -> Clause | None:
    """The verb group at `at`, and what follows it."""
    positive, standing, perfect, passive, past = True, Standing.STATE, False, False, False
    possible = not asserted
    auxiliaries: list[str] = []
    verb, form, governing, going = "", "", False, False
    while at < len(words):
        low = words[at].low
        known = FORMS.get(low)
        pair = (low, words[at + 1].low if at + 1 < len(words) else "")
        if low in NEGATIONS:
            positive = not positive
            if pair == ("no", "longer"):
                cue = "no longer"
                at += 1
        elif pair == ("used", "to") and "be" not in auxiliaries:
            past = True
            at += 1
        elif low in NOW or low in PAST_ADVERBS or low in ADVERBS or low == "to" or (governing and low in ("of", "about", "on")):
            cue = "now" if low in NOW and not cue else cue
            past = past or low in PAST_ADVERBS
        elif low in UNSURE:
            possible = True
        elif low in AUXILIARIES and _more(words, at + 1, low):
            possible = possible or low in MODALS or (low == "will")
            past = past or low in ("was", "were", "had", "did")
            perfect = perfect or low in ("have", "has")
            auxiliaries.append(FORMS.get(low, (low,))[0])
        elif known is not None:
            verb, form = known
            form = "past" if low in SAME_PAST and auxiliaries[-1:] in (["be"], ["have"]) else form
            governing = governed = _governed(words, at)
            if (verb == "go" and form == "ing" and pair[1] == "to" and "be" in auxiliaries and _verbal(words, at + 2)) or (
                governed and verb in INTENTIONS | {"look", "hear"}
            ):
                possible, verb = True, ""
            elif governed and verb in ENDERS and not (bare and form == "base"):
                positive, cue, verb = not positive, "no longer", ""
            elif governed and verb in ("start", "begin", "manage", "continue", "keep", "resume"):
                going = going or verb != "manage"
                cue, verb = ("started" if verb in ("start", "begin", "resume") else cue), ""
            elif verb == "stand" and auxiliaries[-1:] == ["can"] and not positive:
                verb, form, positive, possible, at = "hate", "base", True, False, at + 1
                break
            elif verb == "get" and at + 1 < len(words) and form_of(pair[1]) == "past" and pair[1] not in ("had",):
                passive, verb = True, ""
                past = past or form == "past"
            elif verb == "let" and not auxiliaries:
                return None
            else:
                at += 1
                break
        elif auxiliaries[-1:] == ["be"] and low.endswith("ing") and len(low) > 5:
            verb, form, at = low[:-3], "ing", at + 1
            break
        elif auxiliaries[-1:] == ["have"] and low.endswith("ed") and len(low) > 4:
            verb, form, at = low[:-2], "past", at + 1
            break
        else:
            if auxiliaries and auxiliaries[-1] == "be":
                verb, form = "be", "past" if words[at - 1].low in ("was", "were") else "s"
                break
            if auxiliaries and auxiliaries[-1] == "have":
                verb, form = "have", "s"
                break
            if at and words[at - 1].low in _BEFORE_VERBS and not subject.thing and low.isalpha() and low not in EMPTY | PREPOSITIONS:
                verb, form, at = low, "past" if low.endswith("ed") else "base", at + 1  # a verb that no list has
                break
            return None
        at += 1
    if not verb:
        if not auxiliaries or auxiliaries[-1] not in ("be", "have"):
            return None
        verb, form = auxiliaries[-1], "s"
    if verb in ("be", "have") and auxiliaries[-1:] == [verb] and form == "s" and past and not perfect:
        form = "past"
    passive = passive or ("be" in auxiliaries and form == "past" and verb not in ("be", "have"))
    progressive = form == "ing" and ("be" in auxiliaries or bare or going)
    if bare and form == "base":
        return None  # an order
    rest, cue, positive, past_said = _tail(words[at:], cue, positive)
    happened = form == "past" and not passive and not perfect and not going
    progressive = progressive or (perfect and not passive and any(token.low == "since" for token in rest))
    if possible:
        standing = Standing.PLAN
    elif past or past_said or (verb == "be" and form == "past" and not perfect):
        standing = Standing.PAST
        if (happened and not past_said) or (passive and verb not in ("be", "have")):
            standing = Standing.EVENT
        if "used" in {word.low for word in words[:at]}:
            standing = Standing.PAST
    elif happened or (perfect and not progressive and verb not in ("be", "have")):
        standing = Standing.EVENT
    return Clause(subject, verb, positive, standing, cue, tuple(rest), perfect, passive, progressive, text, asserted)


def _more(words: Sequence[Token], at: int, auxiliary: str) -> bool:
    """Whether an auxiliary at the place before has its main verb after it, adverbs and `not` aside; `have` before a noun has none."""
    while at < len(words) and (words[at].low in ADVERBS | NEGATIONS | UNSURE or words[at].low in NOW | PAST_ADVERBS):
        at += 1
    if at >= len(words):
        return False
    known = FORMS.get(words[at].low)
    if auxiliary in BE:
        if known is None:
            return words[at].low.endswith("ing") and len(words[at].low) > 5
        return (known[1] in ("ing", "past") or words[at].low in SAME_PAST) and words[at].low not in _AS_ADJECTIVES
    if auxiliary in ("have", "has", "had", "having"):
        return (known is not None and (known[1] == "past" or words[at].low in SAME_PAST)) or (known is None and words[at].low.endswith("ed"))
    return known is not None


def _verbal(words: Sequence[Token], at: int) -> bool:
    return at < len(words) and words[at].low in FORMS and FORMS[words[at].low][1] == "base"


def _governed(words: Sequence[Token], at: int) -> bool:
    """Whether the verb at `at` governs another one: `to live`, `living`, `of moving`."""
    following = at + 1
    if following < len(words) and words[following].low in ("to", "of", "about", "on"):
        following += 1
        while following < len(words) and words[following].low in ADVERBS:
            following += 1
        return following < len(words) and words[following].low in FORMS and FORMS[words[following].low][1] in ("base", "ing")
    return following < len(words) and words[following].low in FORMS and FORMS[words[following].low][1] == "ing"


def _tail(words: Sequence[Token], cue: str, positive: bool) -> tuple[list[Token], str, bool, bool]:
    """What follows the verb, without the words of now and then; the cue; whether it is affirmed; whether it speaks of the past."""
    lows = " " + " ".join(word.low for word in words) + " "
    past = any(f" {phrase} " in lows for phrase in PAST_PHRASES)
    rest: list[Token] = []
    for word in _untimed(words):
        if word.low in ("anymore",):
            cue = "no longer" if not positive else cue
            continue
        if word.low in NOW:
            cue = cue or "now"
            continue
        if word.low == "not" and not rest:
            positive = not positive
            continue
        if word.low in ADVERBS and not rest:
            continue
        if word.low in PAST_ADVERBS - {"once"}:
            past = True
            continue
        rest.append(word)
    if any(f" {phrase} " in lows for phrase in NOW_PHRASES):
        cue = cue or ("no longer" if not positive else "now")
    return rest, cue, positive, past


def _untimed(words: Sequence[Token]) -> list[Token]:
    """The words without relative times (`last month`, `two years ago`, `yesterday`): they say when something was told of, not what."""
    out: list[Token] = []
    at = 0
    while at < len(words):
        low = words[at].low
        following = words[at + 1].low if at + 1 < len(words) else ""
        phrase = next((p for p in _NOW_PHRASES if tuple(word.low for word in words[at : at + len(p)]) == p), None)
        if phrase is not None:
            at += len(phrase)
        elif low in _DAYS:
            at += 1
        elif low in _RELATIVE and (following in _UNITS or following in _RELATIVE or following.rstrip("s").endswith("day")):
            at += 2 if following not in _RELATIVE else 3
        elif (
            following in _UNITS
            and at + 2 < len(words)
            and words[at + 2].low in ("ago", "back", "earlier")
            and number_of(low if low != "a" else "1") is not None
        ):
            at += 3
        else:
            out.append(words[at])
            at += 1
            continue
        while out and out[-1].low in ("of", "in", "on", "since", "from", "about", "earlier", "just"):
            out.pop()
    return out
