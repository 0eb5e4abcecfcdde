"""Whether a later statement replaces an earlier one, whatever the attribute: by what two frames share, what differs, and what says that it changed.

Where no reader of clauses knows an attribute, this still compares: of two short statements of one person the words that both have are the
frame, and what is left of each may fill its slot. Numbers of one unit, times of one kind and names can fill one slot in turn; and a statement
can name what it ends. Without a word of change two values of an unknown attribute may both hold: then nothing is said. The evidence is weighed
by a logistic regression, fitted by `mnemos.bench.updating_fitting`, which also says how well it does on attributes that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import lru_cache
from math import exp

from mnemos.text.agreement.frames import LIGHT, Frame
from mnemos.text.agreement.places import wide
from mnemos.text.agreement.values import Value, stems
from mnemos.text.agreement.words import FORMS, OCCASIONS, form_of

Words = frozenset[str]
_VERBS = frozenset(base for base, _ in FORMS.values())
_ALIKE = 4
"""Letters that two words must at least begin with alike to be of one family."""
_SLOT = 4
"""Words that a slot may hold."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for, and against, two statements giving one attribute two values. 0 to 1 each; -1 to 1 the cosine."""

    bias: float = 1.0
    cue: float = 0.0
    """The later one says that something is so now, is new, or changed."""
    cosine: float = 0.0
    """Of the texts' vectors."""
    noun: float = 0.0
    """A noun is shared."""
    nouns: float = 0.0
    """Two nouns are shared."""
    covered: float = 0.0
    """Share of the earlier one's telling words, values aside, that the later one has too."""
    covering: float = 0.0
    """The same of the later one's."""
    number: float = 0.0
    """They differ in numbers of one unit; `name`, `word`, `mixed`: in names, in common words, in a name and common words."""
    name: float = 0.0
    word: float = 0.0
    mixed: float = 0.0
    uneven: float = 0.0
    """One has a number or a time, the other has none."""
    slot: float = 0.0
    """They differ in one run of words only."""
    ends: float = 0.0
    """The later one says that what the earlier one says is no more; `ends_name`: by its name."""
    ends_name: float = 0.0
    several: float = 0.0
    """The later one's object is indefinite or plural; `both_several`: of both."""
    both_several: float = 0.0
    same: float = 0.0
    """What is somebody's is called the same in both (`my bank`); `wider`: one says more (`my new bank in town`); `apart`: it is something else."""
    wider: float = 0.0
    apart: float = 0.0
    strange: float = 0.0
    """The later one tells of something of somebody's that the earlier one does not mention."""
    happened: float = 0.0
    """The earlier one tells of what happened, and of no state."""
    extra: float = 0.0
    """Each has telling words, values aside, that the other has not; `extra_noun`: though they share a noun."""
    extra_noun: float = 0.0
    people: float = 0.0
    """They mention different people."""


DEFAULT = Evidence(
    bias=-5.06, cue=-0.5, cosine=8.26, noun=-0.96, nouns=1.26, covered=1.7, covering=2.46, number=0.86, name=1.13, word=-1.12, mixed=-1.6,
    uneven=-1.17, slot=0.7, ends=1.46, ends_name=2.72, several=-0.53, both_several=-0.73, same=0.88, wider=-0.48, apart=-0.79, strange=-0.5,
    happened=-1.11, extra=0.24, extra_noun=-0.33, people=-0.34,
)  # fmt: skip
"""Log odds per unit of each piece of evidence, fitted by `mnemos.bench.updating_fitting`."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """That a later statement stands for an earlier one."""

    confidence: float
    """0..1."""
    frame: str
    """The words that both have."""
    values: tuple[str, str]
    """What differs: of the earlier and of the later one."""
    outdated: float
    """0..1: how much of the earlier one no longer holds."""


def replacement(earlier: Frame, later: Frame, cosine: float, weights: Evidence = DEFAULT) -> Replacement | None:
    """How surely `later` replaces `earlier`, both said by one person; None where both may hold."""
    found = evidence(earlier, later, cosine)
    if found is None:
        return None
    score = sum(getattr(found, name) * getattr(weights, name) for name in NAMES)
    ours, theirs = shared(earlier.telling, later.telling)
    left = earlier.beside - ours
    return Replacement(
        1 / (1 + exp(-score)), " ".join(word for word in earlier.bare if word in ours), (_shown(earlier, ours), _shown(later, theirs)),
        1 - len(left) / max(len(earlier.telling), 1),
    )  # fmt: skip


NAMES = tuple(field.name for field in fields(Evidence))


def _shown(frame: Frame, common: Words) -> str:
    told = [word for word in frame.value.shown.split() if word.lower().strip(".,'") in frame.telling - common or any(c.isdigit() for c in word)]
    return " ".join(told) or frame.value.shown


def evidence(earlier: Frame, later: Frame, cosine: float) -> Evidence | None:
    """What speaks for `later` giving another value to the attribute of `earlier`; None where the two cannot be compared, or where nothing
    says that it changed."""
    if earlier.denied or earlier.former or later.former or not (later.cue or later.ended) or (earlier.past and not later.cue):
        return None
    if not (earlier.subject <= later.people and later.subject <= earlier.people) or _contrasted(earlier, later):
        return None
    if not (_held(earlier, later) and _held(later, earlier)):
        return None
    owned = owned_alike(earlier, later)
    kind = difference(earlier, later)
    ours, theirs = shared(earlier.telling, later.telling)
    ended = [value for value in later.ended if _says(earlier, value)]
    denied = later.denied and any(_denies(earlier, later, value, ours) for value in later.ended)
    if owned == "apart" or not (kind or ended or denied) or (later.denied and not (ended or denied)):
        return None
    run = slot(earlier, later)
    if kind == "name" and not ended and wide(earlier.names) is not wide(later.names):
        return None  # a city, and its country
    if run == "object" and kind in ("name", "word", "mixed") and not ended and owned != "same":
        return None  # who speaks Polish now may still speak French
    values = (earlier.names, later.names) if kind == "name" else (frozenset[str](), frozenset[str]())
    frame, other = earlier.telling - values[0], later.telling - values[1]
    nouns = sum(word not in earlier.verbs and _base(word) not in earlier.verbs for word in ours)
    extra = bool(frame - ours and other - theirs)
    return Evidence(
        cue=later.cue, cosine=cosine, noun=nouns >= 1, nouns=nouns >= 2,
        covered=len(ours - values[0]) / max(len(frame), 1), covering=len(theirs - values[1]) / max(len(other), 1),
        number=kind == "number", name=kind == "name", word=kind == "word", mixed=kind == "mixed", uneven=_counts(earlier) is not _counts(later),
        slot=bool(run) and kind != "word",
        ends=bool(ended), ends_name=any(value.names & earlier.names for value in ended),
        several=later.several, both_several=earlier.several and later.several,
        same=owned == "same", wider=owned == "wider", apart=bool(earlier.owned and later.owned and not owned),
        strange=any(not _has(earlier.telling, phrase[-1]) for phrase in later.owned), happened=earlier.past,
        extra=extra, extra_noun=extra and nouns >= 1, people=earlier.people != later.people,
    )  # fmt: skip


def _counts(frame: Frame) -> bool:
    return bool(frame.value.numbers or frame.value.times)


def _base(word: str) -> str:
    return FORMS.get(word, (word,))[0]


@lru_cache(maxsize=1 << 14)
def akin(first: str, second: str) -> bool:
    """Whether two words are of one family: one stem, or begun alike for the most part (`therapy`, `therapist`; `insured`, `insurance`)."""
    if first == second or not set(stems(first)).isdisjoint(stems(second)):
        return True
    if not (first.isalpha() and second.isalpha()):
        return False
    alike = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    return alike >= _ALIKE and (alike == len(first) or alike == len(second) or (alike > _ALIKE and alike >= 0.55 * max(len(first), len(second))))


def _has(words: Iterable[str], wanted: str) -> bool:
    return any(akin(word, wanted) for word in words)


def shared(first: Words, second: Words) -> tuple[Words, Words]:
    """The words of each that are akin to one of the other."""
    return frozenset(word for word in first if _has(second, word)), frozenset(word for word in second if _has(first, word))


def difference(first: Frame, second: Frame) -> str:
    """In what the two differ, so that both cannot fill one slot: `time`, `number`, `name`, `word`, `mixed`; nothing where they do not."""
    a, b = first.value, second.value
    times = {kind for kind, _ in a.times} & {kind for kind, _ in b.times}
    if times:
        first_at, second_at = ({number for kind, number in value.times if kind in times} for value in (a, b))
        return "time" if first_at.isdisjoint(second_at) else ""
    if a.numbers and b.numbers and {number for number, _ in a.numbers}.isdisjoint(number for number, _ in b.numbers):
        units, measures = ({unit for _, unit in value.numbers} for value in (a, b))
        named = 0 in units | measures or bool(units & b.terms or measures & a.terms)  # 12 old coins, and 14 coins
        return "number" if units & measures or (named and len(a.numbers) == len(b.numbers) == 1) else ""
    names, others = first.names - second.telling, second.names - first.telling
    if names and others:
        return "name"
    one, other = shared(first.telling, second.telling)
    if all(any(not form_of(word) for word in left) for left in (first.telling - one, second.telling - other)):
        return "mixed" if names or others else "word"
    return ""


def slot(first: Frame, second: Frame) -> str:
    """`object` where the two differ in one run of words only, the object of a verb that both have; `other` for another run; nothing for more."""
    a, b = first.bare, second.bare
    least = min(len(a), len(b))
    start = next((at for at in range(least) if not akin(a[at], b[at])), least)
    end = next((at for at in range(least - start) if not akin(a[-1 - at], b[-1 - at])), least - start)
    left, right = a[start : len(a) - end], b[start : len(b) - end]
    if not (1 <= len(left) <= _SLOT and 1 <= len(right) <= _SLOT and start + end >= 2):
        return ""
    return "object" if start and a[start - 1] in _VERBS - {"be"} else "other"


def owned_alike(first: Frame, second: Frame) -> str:
    """How what is somebody's is called in the two: `same`, `wider` (one says more), `apart` (`work email`, `private email`), or nothing."""
    found = ""
    for one in first.owned:
        for other in second.owned:
            if akin(one[-1], other[-1]):
                a, b = frozenset(one), frozenset(other)
                ours, theirs = shared(a, b)
                if ours == a and theirs == b:
                    return "same"
                found = "wider" if ours == a or theirs == b else found or "apart"
    return found


def _held(first: Frame, second: Frame) -> bool:
    """Whether the second can speak of whom or what the first speaks of."""
    return not first.holder or not shared(first.holder, second.holder or second.telling)[0].isdisjoint(first.holder)


def _contrasted(first: Frame, second: Frame) -> bool:
    one, other = frozenset(first.bare) - first.names, frozenset(second.bare) - second.names
    return any(one & group and other & group and not one & other & group for group in OCCASIONS)


def _says(frame: Frame, ended: Value) -> bool:
    """Whether a frame says what is said to be no more."""
    if ended.times and not ended.times & frame.value.times:
        return False
    if ended.numbers and {number for number, _ in ended.numbers}.isdisjoint(number for number, _ in frame.value.numbers):
        return False
    return all(_has(frame.telling, word) for word in ended.words)


def _denies(earlier: Frame, later: Frame, ended: Value, ours: Words) -> bool:
    """Whether the later one denies what the earlier one says: all that it says, and of the same verb where both have one that tells."""
    verbs = earlier.verbs | later.verbs | LIGHT
    things = [word for word in ended.words if _base(word) not in verbs]
    if not (things or ended.words) or not all(_has(earlier.telling, word) for word in things or ended.words):
        return False
    same_verb = not later.verbs or any(akin(one, other) for one in later.verbs for other in earlier.verbs)
    return same_verb and not any(not form_of(word) for word in earlier.telling - ours)
