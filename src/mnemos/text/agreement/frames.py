"""A short statement as a frame: what it says, of whom, whether something is so now, and what it says is no more; of whatever attribute.

No reader of a verb and no list of attributes stands behind this: it sees the parts that any English statement has. `replacing` compares two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnemos.index.terms import fold
from mnemos.text.agreement.subjects import FORMER, SAME_THINGS
from mnemos.text.agreement.tokens import Token, english, sentences, tokens
from mnemos.text.agreement.values import Value, number_of, read_value
from mnemos.text.agreement.words import (
    ADVERBS,
    AUXILIARIES,
    BE,
    EMPTY,
    ENDERS,
    FORMS,
    GIVERS,
    MODALS,
    NEGATIONS,
    NOW,
    NOW_PHRASES,
    PAST_ADVERBS,
    PAST_PHRASES,
    PEOPLE,
    PREPOSITIONS,
    UNSURE,
    form_of,
    word_set,
)

LONGEST = 24
"""Words of a text that has a frame: what is longer says more than one thing."""
_LONGEST_TEXT = 240
"""Characters, for the same reason; what is longer is not read at all."""
LIGHT = word_set("be have do get go take make use keep put give")
"""Verbs that do not tell which attribute it is."""
_POSSIBLE = MODALS | UNSURE | word_set("will shall")
_WISHES = word_set("want hope wish plan consider intend think dream imagine prefer like love hate")
_SURE_WISHES = word_set("want hope wish consider dream")
"""Verbs of what has not happened, whatever follows them."""
_CHANGES = word_set(
    """
    switch change replace swap upgrade downgrade rename raise lower increase decrease reduce drop bump postpone reschedule push shift extend
    delay update cut move relocate transfer become turn grow rise fall renew start begin join trade correct promote
    """
)
"""Verbs by whose past something is another than before."""
_SWAPS = word_set("replace swap trade exchange")
_ENDINGS = ENDERS | GIVERS | word_set("leave drop finish ditch abandon end")
_POSSESSIVE = word_set("my our his her their its 's")
_OTHERS = word_set("he she they it you his her their your")
_PARTICLES = word_set("up off out away rid on back down")
_ENDS = word_set(". !")
_JOINTS = word_set("and but so , ; : — –")
_STOPS = _JOINTS | word_set("because for while since though although by with")
_LONGEST_PHRASE = 5
"""Words of a noun phrase."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A short text, taken apart for comparison. All words are folded."""

    telling: frozenset[str]
    """Words that say something; numbers and times are in `value`."""
    verbs: frozenset[str]
    """Base forms of the verbs among them."""
    names: frozenset[str]
    """Those that are written like names, or have digits or signs in them (`C7`, `a@example.org`)."""
    value: Value
    """Of the whole text: its numbers and times."""
    holder: frozenset[str]
    """Of whom or what it tells where that is neither the speaker nor something of hers: the words before the verb."""
    subject: frozenset[str]
    """Who of the speaker's people is its subject (`sister`, `dog`)."""
    people: frozenset[str]
    """Whom it mentions."""
    owned: tuple[tuple[str, ...], ...]
    """Noun phrases of what is somebody's (`my bank`): of these there is one at a time. The last word is the head."""
    several: bool
    """Whether the object is indefinite or a bare plural: of such things one may have several."""
    cue: bool
    """Whether it says that something is so now, is new, or changed."""
    denied: bool
    ended: tuple[Value, ...]
    """What it says is no more (`from A to B`, `instead of A`, `I left A`, `no longer A`)."""
    past: bool
    """Whether it tells of what happened, and of no state."""
    former: bool
    """Whether it tells of what was (`my old gym`)."""
    beside: frozenset[str]
    """Telling words of what is said beside the main thing, after `and`, `with` or the end of a sentence."""
    bare: tuple[str, ...]
    """The words without articles, adverbs and words of change, verbs in their base form: the skeleton, values included."""


def read_frame(text: str) -> Frame | None:
    """The frame of a short text; None for what is long, no English, asked, wished, only possible, or over."""
    if len(text) > _LONGEST_TEXT:
        return None
    words = [token for sentence in sentences(text) for token in (*(one for one in tokens(sentence) if one.low not in _ENDS), Token(";", ";"))]
    lows = [word.low for word in words]
    if not 2 <= sum(low[:1].isalnum() for low in lows) <= LONGEST or not english(words) or _unsaid(words):
        return None
    told = [word for word in words if word.low not in _STOPS]
    if told and form_of(told[0].low):
        told[0] = Token(told[0].low, told[0].low)  # a verb that begins a sentence is no name
    value = read_value(told)
    changes = _changes(lows)
    ended, denied = _ended(words, bool(changes))
    names = frozenset(word for word in value.words if (word in value.names and not form_of(word)) or not word.replace("-", "").isalpha())
    verbs = frozenset(FORMS[word][0] for word in value.words if word in FORMS) - LIGHT
    return Frame(
        _telling(value.words - changes), verbs, names, value, _holder(words), *_people(words), _owned(words), _several(words),
        bool(changes) or _says_now(lows), denied, ended, _past(words), _former(words), _beside(words) - changes, _bare(lows),
    )  # fmt: skip


def _telling(words: frozenset[str]) -> frozenset[str]:
    kept = words - AUXILIARIES - ADVERBS - {"new"}
    return frozenset(SAME_THINGS.get(word, word) for word in kept if FORMS.get(word, (word,))[0] not in LIGHT)


def _unsaid(words: Sequence[Token]) -> bool:
    """Whether the words ask, wish, or tell of what may be or was."""
    lows = [word.low for word in words]
    line = f" {' '.join(lows)} "
    if "?" in lows or not _POSSIBLE.isdisjoint(lows) or not PAST_ADVERBS.isdisjoint(lows) or " used to " in line:
        return True
    if any(f" {phrase} " in line for phrase in PAST_PHRASES):
        return True
    for at, low in enumerate(lows):
        following = lows[at + 1] if at + 1 < len(lows) else ""
        if (low, following) == ("going", "to") and at + 2 < len(lows) and not words[at + 2].capital and lows[at + 2] not in EMPTY:
            return True
        base = FORMS.get(low, (low,))[0]
        if base in _SURE_WISHES or (base in _WISHES and (following in ("to", "of", "about") or form_of(following) == "ing")):
            return True
    return False


def says_changed(lows: Sequence[str]) -> bool:
    """Whether folded words say that something is so now, is new, or changed."""
    return bool(_changes(lows)) or _says_now(lows)


def _changes(lows: Sequence[str]) -> frozenset[str]:
    return frozenset(low for low in lows if low in FORMS and FORMS[low][0] in _CHANGES and form_of(low) in ("past", "ing"))


def _says_now(lows: Sequence[str]) -> bool:
    new = any(low == "new" and at and lows[at - 1] in _POSSESSIVE | {"a", "the"} for at, low in enumerate(lows))
    line = f" {' '.join(lows)} "
    return new or not (NOW | {"instead", "lately"}).isdisjoint(lows) or any(f" {phrase} " in line for phrase in NOW_PHRASES)


def _former(words: Sequence[Token]) -> bool:
    return any(word.low in FORMER and at and words[at - 1].low in _POSSESSIVE | {"the"} for at, word in enumerate(words[:4]))


def _span(words: Sequence[Token], start: int, ends: frozenset[str]) -> list[Token]:
    end = next((at for at in range(start, len(words)) if words[at].low in ends), len(words))
    return list(words[start:end])


def _ended(words: Sequence[Token], changed: bool) -> tuple[tuple[Value, ...], bool]:
    """What the words say is no more, and whether they deny anything."""
    lows = [word.low for word in words]
    out: list[list[Token]] = []
    denied = False
    for at, low in enumerate(lows):
        base, form = FORMS.get(low, (low, ""))
        following = lows[at + 1] if at + 1 < len(lows) else ""
        if low == "from" and (changed or {"to", "into"} & set(lows[at + 2 : at + 2 + _LONGEST_PHRASE])):
            out.append(_span(words, at + 1, _STOPS | {"to", "into"}))
        elif (low, following) in (("instead", "of"), ("rather", "than")):
            out.append(_span(words, at + 2, _STOPS | {"to"}))
        elif form == "past" and (base in _ENDINGS or (base == "give" and "up" in lows[at + 1 : at + 5])):
            out.append([word for word in _span(words, at + 1, _STOPS | {"to"}) if word.low not in _PARTICLES])
            denied = denied or base in ENDERS | {"give"}
        elif form == "past" and base in _SWAPS:
            out.append(_span(words, at + 1, _STOPS | {"to"}))
        elif low in NEGATIONS:
            denied = True
            if following == "longer":
                out.append(_span(words, at + 2, _STOPS))
            elif {"anymore", "more", "now"} & set(lows[at:]):
                out.append([word for word in _span(words, at + 1, _STOPS) if word.low not in ("anymore", "any", "more", "now")])
    return tuple(value for span in out if (value := read_value(span))), denied


def _owned(words: Sequence[Token]) -> tuple[tuple[str, ...], ...]:
    out = []
    for at, word in enumerate(words):
        phrase: list[str] = []
        for token in words[at + 1 : at + 1 + _LONGEST_PHRASE] if word.low in _POSSESSIVE else ():
            if token.low in PREPOSITIONS | AUXILIARIES | _STOPS | {"'s"} or (phrase and (token.capital or form_of(token.low) in ("s", "past"))):
                break
            if token.low not in EMPTY and number_of(token.low) is None:
                phrase.append(SAME_THINGS.get(token.low, fold(token.low)))
        if phrase:
            out.append(tuple(phrase))
    return tuple(out)


def _people(words: Sequence[Token]) -> tuple[frozenset[str], frozenset[str]]:
    """Whom the words tell of beside the speaker, as their subject and at all. Who does something to the speaker or to what is hers is no subject
    (`my friends call me`), nor is who is only named (`my boss is Ann`)."""
    lows = [word.low for word in words]
    subject, every = set(), set()
    for at, low in enumerate(lows):
        person = low if low in PEOPLE else low.removesuffix("s")
        if person not in PEOPLE or form_of(low) == "s":
            continue
        every.add(person)
        if at > 2 or lows[0] not in _POSSESSIVE | {"the"}:
            continue
        after = at + 3 if lows[at + 1 : at + 3] == ["'s", "name"] else at + 1
        rest = [word for word in words[after:] if word.low not in ADVERBS]
        named = len(rest) > 1 and rest[0].low in BE and (rest[1].capital or rest[1].low in ("named", "called"))
        if not named and not {"me", "my", "our", "us"} & set(lows[at + 1 :]):
            subject.add(person)
    return frozenset(subject), frozenset(every)


def _holder(words: Sequence[Token]) -> frozenset[str]:
    """The words before the verb, where they do not speak of the speaker, and nothing is done to her (`the bank moved our meeting`) or said to be
    hers (`green is my favorite color`)."""
    lows = [word.low for word in words]
    verb = next((at for at, low in enumerate(lows) if at and low in FORMS and (low in AUXILIARIES or form_of(low) in ("s", "past"))), 0)
    if not verb:  # a verb that no list has
        return frozenset() if {"i", "we", "my", "our"} & set(lows[:_LONGEST_PHRASE]) else frozenset(lows[:1])
    before = words[:verb]
    if {"i", "we", "my", "our"} & set(lows[:verb]) or {"me", "my", "our", "us"} & set(lows[verb:]):
        return frozenset()
    return frozenset(SAME_THINGS.get(word.low, fold(word.low)) for word in before if word.low[:1].isalnum() and word.low not in EMPTY - _OTHERS | NOW)


def _past(words: Sequence[Token]) -> bool:
    for at, word in enumerate(words):
        form = form_of(word.low)
        if word.low in ("am", "is", "are", "have", "has", "do", "does") or (at and form in ("base", "s")):
            return False
        if form == "past":
            return True
    return False


def _several(words: Sequence[Token]) -> bool:
    for at, word in enumerate(words):
        if word.low not in FORMS or FORMS[word.low][0] == "be" or word.low in AUXILIARIES - {"have", "has"}:
            continue
        rest = [token for token in words[at + 1 :] if token.low not in ADVERBS]
        phrase = _span(rest, 0, _STOPS | PREPOSITIONS)
        if not phrase or phrase[0].low in _POSSESSIVE | {"the"}:
            return False
        if phrase[0].low in ("a", "an", "some", "any", "another"):
            return True
        counted = any(number_of(token.low) is not None for token in phrase)
        return not counted and phrase[-1].low.endswith("s") and not phrase[-1].capital
    return False


def _beside(words: Sequence[Token]) -> frozenset[str]:
    """Telling words after the first `and`, `but`, semicolon, end of a sentence, or `with` that belongs to no verb (`insured with`)."""
    at = next(
        (at for at, word in enumerate(words) if word.low in ("and", "but", ";") or (word.low == "with" and not _verbal(words[at - 1]))), len(words)
    )
    return _telling(read_value([word for word in words[at:] if word.low not in _STOPS]).words)


def _verbal(word: Token) -> bool:
    return word.low in FORMS or word.low.endswith("ed")


def _bare(lows: Sequence[str]) -> tuple[str, ...]:
    line = list(lows)
    for phrase in NOW_PHRASES:
        parts = phrase.split()
        for at in range(len(line) - len(parts) + 1):
            if line[at : at + len(parts)] == parts:
                line[at : at + len(parts)] = [""] * len(parts)
    left_out = ADVERBS | NOW | _JOINTS | {"", "new", "a", "an", "the", "instead", "'s", "just", "anymore"}
    return tuple(FORMS.get(low, (fold(low),))[0] for low in line if low not in left_out)
