"""Whom or what a statement speaks of: persons, and the things of persons, by the words that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mnemos.index.terms import fold
from mnemos.text.agreement.tokens import Token
from mnemos.text.agreement.values import number_of, stems
from mnemos.text.agreement.words import EMPTY, PEOPLE, PREPOSITIONS, word_set

SPEAKER = "@"
"""Whom "I" means in a memory without an author, and the user of an assistant."""
UNKNOWN = "?"
"""The owner of what nobody named: `they moved the meeting` says nothing of them."""
SELF = word_set("i we me myself")
POSSESSIVES = word_set("my our")
THIRD = word_set("he she they")
THEIRS = word_set("his her their")
DETERMINERS = word_set("the this that these those a an each every all both some")
SAME_THINGS = {
    "e-mail": "email",
    "favourite": "favorite",
    "colour": "color",
    "mobile": "phone",
    "cell": "phone",
    "cellphone": "phone",
    "telephone": "phone",
    "flat": "apartment",
}
FORMER = word_set("old former previous ex last original first")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom or what a clause speaks of: a thing of somebody's, or, where `thing` is empty, the person."""

    owner: str
    """`@` and the folded name; `@` alone for the user; empty where nobody owns it; `UNKNOWN` where it cannot be told."""
    thing: frozenset[int] = frozenset()
    """Terms of the words that say what it is."""
    words: tuple[str, ...] = ()
    """These words, folded, in order; the last is the head."""
    names: frozenset[str] = frozenset()
    """How a person, or an animal, is called."""
    context: frozenset[int] = frozenset()
    """Terms of what stands after a preposition: the meeting *with Bob*."""

    @property
    def head(self) -> str:
        return self.words[-1] if self.words else ""

    @property
    def shown(self) -> str:
        return " ".join(part for part in (self.owner.lstrip("@") if self.owner != SPEAKER else "speaker", *self.words) if part)

    @property
    def is_person(self) -> bool:
        return not self.thing or self.head in PEOPLE


def speaker_of(author: str | None, users: frozenset[str]) -> str:
    """Whom "I" means."""
    name = fold(author or "").strip()
    return SPEAKER if not name or name in users else SPEAKER + name


def noun_phrase(words: Sequence[Token], speaker: str, last: Sequence[Subject] = ()) -> Subject | None:
    """Whom or what a noun phrase names; None for `you`. Whom nobody named (`his car`, at the beginning) is `UNKNOWN`."""
    words = [word for word in words if word.low != ","]
    while words and words[0].low in ("both", "all", "just", "only", "even"):
        words = words[1:]
    if not words:
        return None
    lows = [word.low for word in words]
    if (lows[0] in SELF and len(words) == 1) or ("i" in lows and "and" in lows):
        return Subject(speaker)
    if len(words) == 1 and (lows[0] in THIRD or lows[0] in ("it", "this", "that")):
        wanted = lows[0] in THIRD
        found = next((one for one in last if one.is_person is wanted), None)
        return found or next((one for one in last if one.thing and not wanted), Subject(UNKNOWN))
    if lows[0] in ("you", "your", "there", "who", "which", "what"):
        return None
    owner, start = "", 0
    if lows[0] in POSSESSIVES:
        owner, start = speaker, 1
    elif lows[0] in THEIRS:
        person = next((one for one in last if one.is_person), Subject(UNKNOWN))
        return thing_of(person.owner, [*(Token(word, word) for word in person.words), *words[1:]], speaker)
    elif lows[0] in DETERMINERS:
        start = 1
    if lows[start : start + 1] == ["user"]:
        owner = SPEAKER
        start += 2 if lows[start + 1 : start + 2] == ["'s"] else 1
    if not owner and start == 0:
        ends = next((at for at, word in enumerate(words) if not word.capital or (at and words[at - 1].low == "'s")), len(words))
        if ends == len(words) and ends <= 3 and not any(low in PEOPLE or low in EMPTY for low in lows):
            return Subject(SPEAKER + " ".join(fold(low) for low in lows), names=frozenset(fold(low) for low in lows))
        if ends and ends < len(words) and lows[ends] == "'s":
            owner, start = SPEAKER + " ".join(fold(low) for low in lows[:ends]), ends + 1
    if "of" in lows and not owner:
        at = lows.index("of")
        if lows[at + 1 : at + 2] and lows[at + 1] in POSSESSIVES:
            return thing_of(speaker, [*words[at + 2 :], *words[start:at]], speaker)
    return thing_of(owner, words[start:], speaker)


def thing_of(owner: str, words: Sequence[Token], speaker: str) -> Subject | None:
    """A thing, or a person by what she is to somebody, from the words that name it."""
    core: list[str] = []
    names: set[str] = set()
    context: set[int] = set()
    within = False
    for word in words:
        folded = SAME_THINGS.get(word.low) or fold(word.low)
        if word.low in PREPOSITIONS and core and word.low != "of":
            within = True
        elif within and word.low in POSSESSIVES:
            owner = owner or speaker
        elif folded == "'s" or folded in EMPTY or not folded[:1].isalnum():
            continue
        elif within:
            context.update(stems(folded))
        elif word.capital and core and core[-1] in PEOPLE:
            names.add(folded)  # my sister Anna: she is a sister, whatever her name
        elif not (folded == "address" and core[-1:] == ["email"]):
            core.append(folded)
    if not core and not owner:
        return None
    return Subject(owner, frozenset(h for word in core for h in stems(word)), tuple(core), frozenset(names), frozenset(context))


def subject_of(owner: str, words: Sequence[Token]) -> Subject:
    """A thing of somebody's, by the words that name it."""
    kept = tuple(token.low for token in words if token.low not in EMPTY and number_of(token.low) is None)
    return Subject(owner, frozenset(h for word in kept for h in stems(word)), kept)


def renewed(words: Sequence[Token]) -> str:
    """Whether a subject's own words say that it is `new`, or `former`; else nothing."""
    lows = {word.low for word in words[:4]}
    if lows & FORMER and lows & (POSSESSIVES | {"the"}) and "year" not in lows:
        return "former"
    return "new" if "new" in lows and lows & (POSSESSIVES | {"the"}) else ""
