"""When two statements cannot both be current: one attribute of one subject with two values, or affirmed and denied."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from mnemos.text.agreement.places import wide
from mnemos.text.agreement.predicates import Standing
from mnemos.text.agreement.statement import Statement
from mnemos.text.agreement.subjects import SPEAKER, Subject
from mnemos.text.agreement.values import Value, compared, opposed, stems
from mnemos.text.agreement.words import OCCASIONS, PEOPLE, UNATTACHED, word_set

SEVERAL = word_set(
    """
    friend colleague coworker cousin brother sister sibling uncle aunt neighbor neighbour kid child son daughter niece nephew dog cat fish bird
    pet buddy grandmother grandfather grandma grandpa roommate flatmate housemate teacher client customer guy man woman person student
    """
)
"""People and animals of whom one may have several."""
_SINGLE_PLACES = frozenset(("home", "employer", "school"))
_HABIT = re.compile(r"\b(?:every|each|usually|always|weekly|daily|monthly|(?:mon|tues|wednes|thurs|fri|satur|sun)days)\b", re.I)
_SAME_SERIES_DAYS = 8.0
"""Days after which a weekday that is named once means another week's."""
_TURNED = ("prefer",)
_LIKE_SLOTS: tuple[frozenset[str], ...] = (frozenset(("have", "drives")), frozenset(("have", "own")), frozenset(("have", "subscribe to")))
_ANY_VERB = "do"
_PLACES_IN_ORDER = frozenset(h for word in ("page", "episode", "chapter", "level", "step", "part", "season", "lesson", "unit") for h in stems(word))
_MEASURED = frozenset(h for unit in ("minute", "day", "kilometer", "kilogram") for h in stems(unit))
_NEVER_REPLACED = frozenset(("like", "be", "allergic to", "from", "prefer"))
_COUNTED = "how many "


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two statements of which one ends the other."""

    earlier: Statement
    later: Statement
    confidence: float
    cue: str
    values: tuple[str, str]
    """Of the earlier and of the later one."""
    lasting: bool = False


def same_subject(first: Subject, second: Subject) -> bool:
    """Whether two subjects are one, as far as their words tell."""
    if first.names and second.names and not first.names & second.names:
        return False
    if first.owner != second.owner:
        bare = not first.owner or not second.owner
        if bare and not (first.thing and second.thing):
            return False
        if not bare and not _one_person(first.owner, second.owner):
            return False
    if first.thing != second.thing:
        return bool(first.thing and second.thing) and first.thing | first.context == second.thing | second.context  # the thesis deadline
    return not first.context or not second.context or bool(first.context & second.context)


def _one_person(first: str, second: str) -> bool:
    """Whether two keys name one person: equal, or one is the first name of the other."""
    if SPEAKER in (first, second):
        return first == second
    a, b = first[1:].split(), second[1:].split()
    shorter = min(len(a), len(b))
    return shorter > 0 and a[:shorter] == b[:shorter]


def conflict(earlier: Statement, later: Statement, gap_days: float | None, one_author: bool) -> Conflict | None:
    """The conflict of two statements, `gap_days` apart (None where unknown); None where both may hold."""
    if earlier.standing is not Standing.STATE or later.standing not in (Standing.STATE, Standing.PAST):
        return None
    if not same_subject(earlier.subject, later.subject) and not _replaces(earlier, later):
        return None
    if not _same_slot(earlier, later) and not _replaces(earlier, later):
        return None
    confidence = _judged(earlier, later, gap_days)
    if confidence is None:
        return None
    cue = later.cue
    if cue and later.standing is Standing.STATE:
        confidence += 0.1
    confidence -= _doubt(earlier, later)
    if not one_author:
        confidence *= 0.9
    if confidence < 0.3:
        return None
    shown = (_said(earlier), _said(later))
    return Conflict(earlier, later, min(confidence, 0.98), cue, shown, earlier.lasting or later.lasting)


ALIKE = 0.5
"""Cosine from which two short statements are taken to be about one thing. At 0.5 of MiniLM's, one in a thousand pairs of a person's statements of
different attributes is as near (`mnemos bench updating`)."""
NAMED_SLOTS = word_set(
    "home employer job waking bedtime diet age commute relationship drives address school name from household dwelling workplace"
) | {
    "field of study", "allergic to", "working hours",
}  # fmt: skip


def meant_alike(earlier: Statement, later: Statement, cosine: float) -> Conflict | None:
    """The conflict of two short statements that give one attribute in different words, as far as their texts' `cosine` tells: a word of change in
    the later one, values of one kind, and nothing that says that both may hold."""
    if cosine < ALIKE or not later.cue or earlier.standing is not Standing.STATE or later.standing is not Standing.STATE:
        return None
    if not earlier.positive or not _same_holder(earlier.subject, later.subject) or _contrasted(earlier, later):
        return None
    if later.positive:
        both = earlier.slot == later.slot and not (earlier.single and later.single and _same_key(earlier, later))
        apart = earlier.slot != later.slot and {earlier.slot, later.slot} <= NAMED_SLOTS
        if both or apart or later.slot in _NEVER_REPLACED or not _of_one_kind(earlier.value, later.value):
            return None
    elif not later.value.terms or not later.value.terms <= earlier.value.terms | earlier.key | earlier.subject.thing:
        return None
    confidence = min(0.8 + 0.3 * (cosine - ALIKE), 0.95)
    return Conflict(earlier, later, confidence, later.cue, (_said(earlier), _said(later)), earlier.lasting or later.lasting)


def _same_holder(first: Subject, second: Subject) -> bool:
    """Whether two statements can be about one thing of one person: a thing that both name must be named alike."""
    if first.owner != second.owner:
        return False
    if first.thing and second.thing:
        shared = first.thing & second.thing
        if shared in (first.thing, second.thing):
            return True
        return bool(shared) and first.head != second.head and not first.is_person and not second.is_person  # health insurance, insurance provider
    return first.head not in PEOPLE and second.head not in PEOPLE


def _of_one_kind(first: Value, second: Value) -> bool:
    """Whether two values exclude each other, and are both numbers of one unit, both times, both names, or both words."""
    if compared(first, second) != "other":
        return False
    kinds = [(bool(one.times), bool(one.numbers), bool(one.names)) for one in (first, second)]
    units = [{unit for _, unit in one.numbers} for one in (first, second)]
    return kinds[0] == kinds[1] and (units[0] == units[1] or 0 in units[0] | units[1])


def _said(one: Statement) -> str:
    return one.value.shown if one.positive else f"not {one.value.shown}".strip()


def _replaces(earlier: Statement, later: Statement) -> bool:
    """Whether the later one says what took the place of the earlier one's value, without naming the attribute (`switched from A to B`)."""
    if earlier.subject.owner != later.subject.owner or not earlier.positive:
        return False
    if later.slot == _ANY_VERB and not later.positive:
        return bool(later.value.names) and bool(earlier.value) and compared(earlier.value, later.value) == "same"
    if not later.previous or not (later.slot in ("use", earlier.slot) or later.cue) or earlier.slot in _NEVER_REPLACED:
        return False
    return bool(earlier.value) and compared(earlier.value, later.previous) == "same"


def _same_slot(earlier: Statement, later: Statement) -> bool:
    if earlier.slot == later.slot or (earlier.slot.startswith(_COUNTED) and later.slot.startswith(_COUNTED)):
        return True
    if _ANY_VERB in (earlier.slot, later.slot):
        return earlier.positive is not later.positive
    return any({earlier.slot, later.slot} <= group for group in _LIKE_SLOTS)


def _judged(earlier: Statement, later: Statement, gap_days: float | None) -> float | None:
    """How surely the later statement ends the earlier, before doubts are counted."""
    relation = compared(earlier.value, later.value) if earlier.value and later.value else "same" if not (earlier.value or later.value) else "unlike"
    if later.standing is Standing.PAST:
        ends = relation == "same" and earlier.positive and later.positive
        return 0.85 if ends and "used to" in later.text.lower() else 0.6 if ends and earlier.single else None
    if _replaces(earlier, later):
        return 0.85
    if earlier.positive is not later.positive:
        return _denied(earlier, later, relation)
    if not earlier.positive or not _same_key(earlier, later):
        return None
    if later.previous and earlier.value and compared(earlier.value, later.previous) == "same" and relation != "same":
        return 0.92
    if later.slot in _TURNED:
        return _turned(earlier, later, relation)
    single = min(earlier.single, later.single)
    usual = single >= 0.5 or (single >= 0.4 and later.cue != "started" and earlier.ongoing is later.ongoing)
    if later.cue and (usual or _one_at_a_time(earlier, later, relation)):
        single = max(single, 0.7)
    if single < 0.5 or relation in ("same", "finer"):
        return None
    if earlier.slot == "relationship" and earlier.value.words & UNATTACHED and later.value.words & UNATTACHED:
        return None
    if relation == "unlike":
        return 0.72 if later.cue and single >= 0.7 else None
    if earlier.slot == "when" and gap_days is not None and gap_days > _SAME_SERIES_DAYS and not later.cue and not _HABIT.search(earlier.text):
        return None
    if earlier.slot == "when" and later.cue == "changed":
        return 0.85
    return 0.87 if single >= 0.9 else 0.74 if single >= 0.7 else 0.55


def _one_at_a_time(earlier: Statement, later: Statement, relation: str) -> bool:
    """Whether two values of a verb that can have many are said so that, with a word of change, the later stands for the earlier: two titles that
    are being read, or kinds of one thing (`blond hair`, `pink hair`)."""
    if relation != "other" or earlier.slot != later.slot or earlier.slot in _NEVER_REPLACED:
        return False
    ours, theirs = earlier.value.shown.lower().split(), later.value.shown.lower().split()
    alike = len(ours) > 1 and len(theirs) > 1 and ours[-1] == theirs[-1] and not {ours[0], theirs[0]} & {"my", "another", "more"}
    titles = earlier.slot in ("read", "watch", "stay", "wear") and bool(earlier.value.names) and bool(later.value.names)
    return (alike and later.cue != "started") or (titles and earlier.ongoing and later.ongoing)


def _denied(earlier: Statement, later: Statement, relation: str) -> float | None:
    """One affirms what the other denies."""
    denial, claim = (earlier, later) if not earlier.positive else (later, earlier)
    if not _HALF_DENIED.isdisjoint(denial.text.lower().split()):
        return None
    if not denial.value and claim.value and denial.slot == claim.slot:
        return 0.8  # no smoking at all
    if not _same_key(earlier, later) or relation in ("other", "unlike"):
        return None
    if relation == "same":
        return 0.85
    narrower = len(denial.value.terms) > len(claim.value.terms)  # no cold coffee, but coffee
    return None if narrower else 0.6


def _turned(earlier: Statement, later: Statement, relation: str) -> float | None:
    """`prefer A over B`, then `prefer B over A`, or another member of one category (`window seats`, `aisle seats`)."""
    if earlier.previous and later.previous:
        return 0.9 if compared(earlier.previous, later.value) == "same" and compared(earlier.value, later.previous) == "same" else None
    crossed = [pair for pair in ((earlier.previous, later.value), (later.previous, earlier.value)) if pair[0]]
    if any(compared(*pair) == "same" for pair in crossed):
        return 0.8
    if relation != "other":
        return None
    shared = earlier.value.terms & later.value.terms
    return 0.74 if opposed(earlier.value, later.value) else 0.72 if shared and len(earlier.value.terms) <= 3 >= len(later.value.terms) else None


def _same_key(earlier: Statement, later: Statement) -> bool:
    """Whether what narrows the attribute allows both to speak of one thing."""
    a, b = earlier.key, later.key
    if _contrasted(earlier, later):
        return False
    if earlier.slot.startswith(_COUNTED):
        ours, theirs = a | _verb_terms(earlier), b | _verb_terms(later)
        shared = a & b
        if not shared or (a - theirs and b - ours) or (earlier.occasion and later.occasion and not earlier.occasion & later.occasion):
            return False
        if shared <= _MEASURED and not (ours & _verb_terms(later) or theirs & _verb_terms(earlier)):
            return False  # hours slept, and hours of practice
        return len(shared) >= 2 or shared in (a, b)
    if earlier.slot.startswith(("how long", "when ")):
        return bool(a & b) and (a <= b or b <= a)
    if earlier.slot == "use":
        return bool(a & b) or not (a or b) or bool(later.previous)
    return True


@lru_cache(maxsize=512)
def _terms_of_slot(slot: str) -> frozenset[int]:
    return frozenset(stems(slot.removeprefix(_COUNTED)))


def _verb_terms(one: Statement) -> frozenset[int]:
    return _terms_of_slot(one.slot)


_HALF_DENIED = word_set(
    """
    much many enough every always often yet only just all usually else other completely entirely necessarily before
    """
)
"""Words that leave something of what is denied: `not much`, `not every day`."""


def _contrasted(first: Statement, second: Statement) -> bool:
    """Whether two occasions of one kind are named (`for breakfast`, `after lunch`), beside the values."""
    a = set(first.text.lower().split()) - first.value.words
    b = set(second.text.lower().split()) - second.value.words
    return any(a & group and b & group and not a & b & group for group in OCCASIONS)


def _doubt(earlier: Statement, later: Statement) -> float:
    """What is to be taken off where two subjects or two values may differ in kind."""
    doubt = 0.0
    subject = earlier.subject
    if earlier.slot != later.slot and earlier.slot.startswith(_COUNTED) and "have" not in earlier.slot + later.slot:
        doubt += 0.1
    if earlier.slot.startswith(_COUNTED) and earlier.key == later.key and earlier.key <= _PLACES_IN_ORDER:
        doubt += 0.15  # page 45, but of which book?
    if earlier.occasion and later.occasion and not earlier.occasion & later.occasion:
        doubt += 0.03
    if bool(subject.context) is not bool(later.subject.context) and not later.cue:
        doubt += 0.1
    if subject.head in SEVERAL and not (subject.names & later.subject.names) and not later.cue:
        doubt += 0.25
    if not subject.owner and not later.subject.owner and len(subject.thing | subject.context) < 2:
        doubt += 0.3
    elif subject.owner != later.subject.owner:
        doubt += 0.03
    if earlier.slot in _SINGLE_PLACES and earlier.positive and later.positive:
        doubt += _place_doubt(earlier.value, later.value, later.cue)
    if subject.head in PEOPLE and subject.owner == "" and not subject.names:
        doubt += 0.2
    return doubt


def _place_doubt(earlier: Value, later: Value, cue: str) -> float:
    if _common(earlier) and _common(later):
        return 0.35
    if bool(earlier.names) is not bool(later.names):
        return 0.1 if cue in ("changed", "started") else 0.13 if cue == "now" else 0.3
    if wide(earlier.words) is not wide(later.words):
        return 0.1 if cue in ("changed", "now", "started") else 0.35
    return 0.0


def _common(value: Value) -> bool:
    """Whether a place is only described (`a city`, `another state`), and not named."""
    return not value.names and value.shown.lower().split()[:1] in (["a"], ["an"], ["the"], ["another"], ["my"], ["our"], ["this"])
