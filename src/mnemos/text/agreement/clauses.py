"""From a sentence to its clauses: who or what each speaks of, and its predicate. Heuristics for English, no grammar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mnemos.text.agreement.predicates import Clause, Standing, predicate
from mnemos.text.agreement.subjects import DETERMINERS, POSSESSIVES, SELF, THEIRS, THIRD, UNKNOWN, Subject, noun_phrase, renewed
from mnemos.text.agreement.tokens import Token, tokens
from mnemos.text.agreement.words import (
    ADVERBS,
    ATTRIBUTES,
    AUXILIARIES,
    EMPTY,
    FINITE_AUXILIARIES,
    FORMS,
    NEGATIONS,
    NOW,
    NOW_PHRASES,
    PICKED,
    UNSURE,
    form_of,
    word_set,
)

_STARTERS = SELF | POSSESSIVES | THIRD | THEIRS | word_set("it you your the there this that it's")
_CONJUNCTIONS = word_set("and but so yet because although though while whereas since when until which who where after before as once or that")
_RELATIVE_PRONOUNS = word_set("who which that where")
_SAYING = word_set("say tell claim think believe know mention hear remember suggest guess confirm realize notice forget")
_TELLERS = word_set("i we my our")
"""What a clause begins with that follows a verb of saying without a `that`."""
_FILLERS = (
    "by the way", "just so you know", "for the record", "as i said", "to be honest", "in fact", "of course", "for your information", "you know",
    "i mean", "speaking of which", "quick update", "update", "note", "good news", "big news", "news", "fyi", "btw", "actually", "well", "oh", "hey",
    "hi", "yes", "yeah", "yep", "no", "nope", "so", "also", "anyway", "ok", "okay", "um", "haha", "lol", "wow", "right", "sure", "thanks", "hello",
    "correction", "sorry", "please note that", "remember that", "please remember that", "please remember", "it turns out", "turns out",
    "as it happens",
    "to clarify", "unfortunately", "luckily", "fortunately", "honestly", "frankly", "thankfully", "sadly", "and", "but", "then", "plus",
)  # fmt: skip
_FILLED = tuple(sorted((tuple(filler.split()) for filler in _FILLERS), key=len, reverse=True))
_LABELS = ATTRIBUTES - {"title", "topic", "theme", "target", "role", "name", "position", "goal", "date", "time", "language", "level", "style"}
"""What may stand before a colon in a note about somebody; a title before a colon is that of a text."""
_FARTHEST_VERB = 9


def clauses(sentence: str, speaker: str, last: list[Subject]) -> Iterator[Clause]:
    """The clauses of a sentence that could be read. `last` holds the person and the thing last spoken of, and is brought up to date."""
    words = tokens(sentence)
    if not words or words[-1].low == "?" or "?" in {word.low for word in words}:
        return
    words = [word for word in words if word.low not in ('"', "\n", ".", "!")]
    before: Subject | None = None
    for piece, inherits, sure in _split(words):
        if inherits and before is None:
            continue
        clause = _parse(piece, speaker, last, before if inherits else None)
        if clause is None:
            before = before if inherits else None
        else:
            before = clause.subject
            _remember(last, clause.subject, speaker)
            yield clause if sure else replace(clause, standing=Standing.PLAN)


def _remember(last: list[Subject], subject: Subject, speaker: str) -> None:
    if subject.owner in (speaker, UNKNOWN) and not subject.thing:
        return
    last[:] = [subject, *[other for other in last if other.is_person != subject.is_person][:1]]


def _split(words: list[Token]) -> Iterator[tuple[list[Token], bool, bool]]:
    """Pieces of a sentence, each with whether its subject is that of the piece before, and whether it is asserted (not under an `if`)."""
    piece: list[Token] = []
    inherits, sure = False, True
    at = 0
    while at < len(words):
        word = words[at]
        following = words[at + 1] if at + 1 < len(words) else None
        if word.low in (";", "–", "—", "(", ")") or (word.low == ":" and not _label(piece, words, at)):
            yield piece, inherits, sure
            piece, inherits, sure = [], False, True
        elif word.low in ("if", "unless", "whether") or (word.low == "whenever"):
            if piece:
                yield piece, inherits, sure
            piece, inherits, sure = [], False, False
        elif following is not None and piece and following.low in _TELLERS and FORMS.get(word.low, ("", ""))[0] in _SAYING:
            yield [*piece, word], inherits, sure
            piece, inherits, sure = [], False, True
        elif following is not None and word.low in (",", *_CONJUNCTIONS) and piece and _begins(words, at + 1, piece):
            yield piece, inherits, sure
            relative = word.low in _RELATIVE_PRONOUNS or following.low in _RELATIVE_PRONOUNS
            skip = at + 1
            while skip < len(words) and words[skip].low in _CONJUNCTIONS | {",", "then", "also"}:
                skip += 1
            inherits = skip < len(words) and not _has_subject(words[skip])
            if inherits and relative:
                end = next((after for after in range(skip, len(words)) if words[after].low in (",", ";", "and", "but")), len(words))
                skip, inherits = end, end < len(words) and not _has_subject(words[min(end + 1, len(words) - 1)])
            piece, at = [], skip
            sure = True
            continue
        else:
            piece.append(word)
        at += 1
    yield piece, inherits, sure


def _label(piece: list[Token], words: list[Token], at: int) -> bool:
    """Whether a colon parts a label from its value (`Phone number: 555-0100`)."""
    return (
        at == len(piece)
        and 0 < len(piece) <= 5
        and at + 1 < len(words)
        and not any(word.low in AUXILIARIES or form_of(word.low) in ("past", "s") for word in piece)
    )


def _has_subject(word: Token) -> bool:
    return word.low in _STARTERS or word.capital


def _begins(words: list[Token], at: int, piece: list[Token]) -> bool:
    """Whether a clause of its own begins after the comma or conjunction before `at`."""
    while at < len(words) and words[at].low in _CONJUNCTIONS | {",", "then", "also"}:
        at += 1
    if at >= len(words) or len(piece) < 1:
        return False
    word = words[at]
    if not any(w.low in AUXILIARIES or w.low in FORMS for w in piece):
        return word.low in _STARTERS and words[at - 1].low == ","
    if word.low in _STARTERS - {"that", "this", "the", "it", "there"}:
        return word.low not in ("you", "me", "her", "their", "his", "my", "our", "your") or _verb_soon(words, at)
    if word.low in ("the", "it", "there", "this", "that") or word.capital:
        return _verb_soon(words, at)
    if word.low in ADVERBS | NEGATIONS and at + 1 < len(words):
        word = words[at + 1]
    known = FORMS.get(word.low)
    if known is None or known[1] == "ing" or piece[-1].low == "to" or word.low in ("like", "work", "set"):
        return word.low in FINITE_AUXILIARIES and words[at - 1].low != ","
    return known[1] in ("past", "s") or words[at - 1].low in ("and", "but")


def _verb_soon(words: list[Token], at: int) -> bool:
    """Whether a finite verb stands within a noun phrase's length of `at`, before the next comma."""
    for word in words[at + 1 : at + 7]:
        if word.low == ",":
            return False
        if word.low in FINITE_AUXILIARIES or (word.low in FORMS and FORMS[word.low][1] in ("s", "past")):
            return True
    return words[at].low in ("i", "we", "they")


def _parse(piece: Sequence[Token], speaker: str, last: Sequence[Subject], before: Subject | None) -> Clause | None:
    words, cue, asserted = _trimmed([word for word in piece if word.low != '"'])
    if not words:
        return None
    labelled = next((at for at, word in enumerate(words) if word.low == ":"), None)
    if labelled is not None:
        if not any(word.low in _LABELS | PICKED for word in words[:labelled]):
            return None
        label = [Token(word.low, word.low) if word.low in ATTRIBUTES | PICKED else word for word in words[:labelled]]
        subject = noun_phrase(label, speaker, last)
        if subject is None or not words[labelled + 1 :]:
            return None
        subject = replace(subject, owner=subject.owner or speaker)
        return Clause(subject, "be", True, Standing.STATE, cue, tuple(words[labelled + 1 :]), text=_shown(piece))
    first = words[0]
    if first.low.endswith("ing") and any(word.low in FINITE_AUXILIARIES for word in words[1:]):
        return None  # joining a church can be …
    if before is not None or (first.low in FORMS and FORMS[first.low][1] in ("past", "ing") and first.low not in EMPTY):
        subject, at = before or Subject(speaker), 0
    else:
        found = _subject(words, speaker, last)
        if found is None:
            return None
        subject, at = found
    clause = predicate(words, at, subject, cue, asserted, _shown(piece), before is None and at == 0)
    age = renewed(words[:at]) if clause is not None else ""
    if clause is not None and age == "new" and clause.positive:
        return replace(clause, cue=clause.cue or "changed")
    if clause is not None and age == "former" and clause.standing is Standing.STATE:
        return replace(clause, standing=Standing.PAST)
    return clause


def _shown(piece: Sequence[Token]) -> str:
    return " ".join(word.text for word in piece)


def _trimmed(words: list[Token]) -> tuple[list[Token], str, bool]:
    """The words without what is only said in passing before the subject; the cue among them; whether they are asserted."""
    cue, asserted = "", True
    while words:
        if words[0].low in (",", ":"):
            words = words[1:]
            continue
        if words[0].low in NOW:
            cue, words = "now", words[1:]
            continue
        if words[0].low in UNSURE:
            asserted, words = False, words[1:]
            continue
        lows = [word.low for word in words[:6]]
        phrase = next((p.split() for p in NOW_PHRASES if lows[: len(p.split())] == p.split()), None)
        if phrase:
            cue, words = "now", words[len(phrase) :]
            if phrase == ["as", "of"]:
                starter = next((at for at, word in enumerate(words[:7]) if word.low in _STARTERS - {"this", "that", "the"}), 0)
                words = words[starter:] if starter else _after_comma(words)
            continue
        filler = next((f for f in _FILLED if tuple(lows[: len(f)]) == f), None)
        if filler and len(words) > len(filler):
            words = words[len(filler) :]
            continue
        shorter = _without_opening(words)
        if shorter is words:
            break
        words = shorter
    return words, cue, asserted


_FREQUENT = word_set("every each")
_OPENING = word_set("in on at since for during")
_OPENINGS = _OPENING | word_set("last this after starting from until before yesterday today")


def _without_opening(words: list[Token]) -> list[Token]:
    """The words without the phrase of time or place that they open with; how often something is done goes to the end. The same list where
    there is no such phrase."""
    first = words[0].low
    start = next((at for at, word in enumerate(words[:4]) if at > 1 and word.low in ("i", "we", "my", "our")), None)
    if first in _FREQUENT:
        return [*words[start:], *words[:start]] if start else words
    if first not in _OPENINGS:
        return words
    after = _after_comma(words)
    return words[start:] if after is words and first in _OPENING and start else after


def _after_comma(words: list[Token]) -> list[Token]:
    """What follows an opening phrase that ends at a comma; the words themselves where none does."""
    comma = next((at for at, word in enumerate(words[:9]) if word.low == ","), None)
    return words[comma + 1 :] if comma is not None else words


def _subject(words: Sequence[Token], speaker: str, last: Sequence[Subject]) -> tuple[Subject, int] | None:
    """The subject at the beginning of `words`, and where the verb group begins."""
    first = words[0].low
    if first in SELF | THIRD | {"it", "this", "that"} and len(words) > 1 and (first not in ("this", "that") or words[1].low in AUXILIARIES):
        at = 1
        if words[1].low == "and" and len(words) > 3:  # I and my wife
            at = _verb_at(words, 2) or 1
    else:
        found = _verb_at(words, 0)
        if not found:
            return None
        at = found
    subject = noun_phrase(words[:at], speaker, last)
    return None if subject is None else (subject, at)


def _verb_at(words: Sequence[Token], start: int) -> int | None:
    """Where the verb group begins that ends the noun phrase at `start`."""
    best: int | None = None
    for at in range(start + 1, min(len(words), start + _FARTHEST_VERB)):
        word, previous = words[at], words[at - 1]
        if word.low in FINITE_AUXILIARIES:
            return at if best is None or at <= best + 2 else best
        if best is not None or previous.low in DETERMINERS | POSSESSIVES | THEIRS | {"'s", "your"}:
            continue
        if word.low in ADVERBS | NEGATIONS and at + 1 < len(words) and words[at + 1].low in FORMS and FORMS[words[at + 1].low][1] in ("s", "past"):
            best = at
            continue
        if word.low in EMPTY:
            continue
        known = FORMS.get(word.low)
        if known is None or known[1] == "ing":
            continue
        plural = (
            (previous.low.endswith("s") and not previous.low.endswith("ss"))
            or previous.low in ("people", "children", "i", "we", "they", "and")
            or "and" in {w.low for w in words[start:at]}
        )
        if known[1] == "past" or (known[1] == "s" and not (plural and not previous.capital)) or (known[1] == "base" and plural):
            best = at
    return best
