"""Whether sources say what a language model claims of them: quotes word for word, statements by their names, numbers, times, words and negation.

A check by form, in one pass and without a model. It finds what was invented, exchanged or turned into its opposite; who did it to whom, where
both are named in one sentence, it cannot see. Negation and times are read in English; words, names and numbers in any language with spaces.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mnemos.base.errors import Invalid
from mnemos.index.terms import STOP_WORDS, fold, term, words
from mnemos.text.agreement import Memory, Relation, compare
from mnemos.text.agreement.tokens import LONGEST, Token, sentences, tokens
from mnemos.text.agreement.values import Value, dimension, read_value, stems
from mnemos.text.agreement.words import AUXILIARIES, FORMS, NEGATIONS, word_set
from mnemos.text.time_expressions import find_times

_PLAIN = str.maketrans({
    "’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-",
    "\u00ad": None, "\u200b": None, "\u200c": None, "\u200d": None, "\ufeff": None,
})  # fmt: skip
_AROUND = " \t\r\n\"'“”„‘’«».,;:!?…()[]"
_FIRST_PERSON = word_set("i me my mine myself we us our ours ourselves")
_SECOND_PERSON = word_set("you your yours yourself")
_THIRD_PERSON = word_set("he him his she her hers they them their theirs")
_UNSAID = word_set(
    """
    user assistant speaker named called say says said tell tells told mention mentions mentioned express expresses expressed share shares shared
    describe describes described state states stated note notes noted acknowledge acknowledges acknowledged believe believes believed believing
    think thinks thought find finds found feel feels felt consider considers considered appreciate appreciates appreciated value values valued
    """
)
"""What a report says of what was said, where that itself need not say it."""
_DENYING = NEGATIONS | word_set("none nobody nothing nowhere without")
_PARTING = word_set(", ; : but although though however while whereas because since so yet – —")
_SUBJECTS = word_set("i you he she it we they there this that")
_MEASURES = frozenset(map(term, "minute day kilometer kilogram dollar euro pound yen percent".split()))  # noqa: SIM905 (a list of words)


class Quote(NamedTuple):
    """`text` is `sources[source][start:end]`: what the source says, which a claim may differ from in case, blanks and signs."""

    source: int
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """A source of a statement."""

    text: str
    author: str | None = None
    to: str | None = None
    """Who is meant by `you`."""
    said_at: int | None = None
    """Microseconds since 1970, UTC: by it `yesterday` is a date."""


Number = tuple[float, int]
"""A number and the term of what it counts, as `agreement.values` reads it."""
Fault = Literal["", "nothing", "name", "number", "time", "words", "negation", "contradiction"]


@dataclass(frozen=True, slots=True)
class Support:
    """What a check found: no `fault`, or the first one, and the words that it is about."""

    fault: Fault = ""
    about: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.fault


@dataclass(frozen=True, slots=True)
class Rules:
    """How strictly statements are held to their sources. Names, numbers and times are always held to in full."""

    words: float = 0.6
    """Share of the other telling words, by their stems, that must stand in the sources; 0..1. A paraphrase has some words of its own. Chosen on
    five of LoCoMo's conversations, whose observations a language model wrote: 0.7 accepts a sixth fewer of them, 0.5 eight more by turns that
    are not theirs."""

    def __post_init__(self) -> None:
        if not 0 <= self.words <= 1:
            raise Invalid(f"rules.words: expected a share, 0 to 1, not {self.words!r}")


DEFAULTS = Rules()


def find_quote(claimed: str, sources: Sequence[str]) -> Quote | None:
    """Where a source says `claimed`, from word to word: as it stands, else but for case, accents, blanks, and kinds of quotation marks and dashes.

    Marks around the claim are no part of it. None where no source says it, and for a claim without a letter or digit.
    """
    wanted = claimed.strip(_AROUND)
    if not any(character.isalnum() for character in wanted):
        return None
    for number, source in enumerate(sources):
        for start in _places(wanted, source):
            return _quote(number, source, start, start + len(wanted))
    plain, _ = _plain(wanted)
    for number, source in enumerate(sources):
        text, origin = _plain(source)
        for start in _places(plain, text) if plain else ():
            return _quote(number, source, origin[start], origin[start + len(plain) - 1] + 1)
    return None


def _quote(number: int, source: str, start: int, end: int) -> Quote:
    """The quote from `start` to `end`, with the accents that belong to its last letter."""
    while unicodedata.combining(source[end : end + 1] or " "):
        end += 1
    return Quote(number, start, end, source[start:end])


def _places(wanted: str, text: str) -> Iterable[int]:
    """Where `wanted` stands in `text` with no letter or digit right before or after it."""
    start = text.find(wanted)
    while start >= 0:
        end = start + len(wanted)
        if not (text[start - 1 : start].isalnum() and wanted[0].isalnum()) and not (text[end : end + 1].isalnum() and wanted[-1].isalnum()):
            yield start
        start = text.find(wanted, start + 1)


def _plain(text: str) -> tuple[str, list[int]]:
    """`text` as quotes are compared, and for each of its characters where it is from."""
    out: list[str] = []
    origin: list[int] = []
    for at, character in enumerate(text):
        if character.isspace():
            character = "" if out and out[-1] == " " else " "
        else:
            character = unicodedata.normalize("NFKD", character.translate(_PLAIN)).casefold()
        for part in character:
            if not unicodedata.combining(part):
                out.append(part)
                origin.append(at)
    return "".join(out), origin


def supported(statement: str, sources: Sequence[Cited | str], rules: Rules = DEFAULTS) -> Support:
    """Whether `sources` say what `statement` says, as far as its form tells.

    - Every name stands in the sources, or is who says them, or to whom.
    - Every number and every time stands in a sentence that is not about somebody else; a time may also be reckoned from what was said when.
    - Of the other telling words a share stands in such sentences (`Rules.words`).
    - What is denied is denied there, what is not is not; and the sentence that is nearest does not contradict it.
    """
    cited = [Cited(source) if isinstance(source, str) else source for source in sources]
    told = [part for source in cited for part in _told(source)]
    known = frozenset(h for part in told for h in part.terms | part.people)
    people = frozenset(h for part in told for h in part.people)
    claims = [_Claim(text, people) for text in _sentences(statement)]
    if not any(claim.value for claim in claims):
        return Support("nothing")
    names = frozenset(h for claim in claims for h in claim.names)
    bearing = [part for part in told if _bears(part, names, people)]
    for claim in claims:
        found = _fault_of(claim, bearing, known, rules)
        if found.fault:
            return found
    return Support()


class _Claim:
    """A sentence of a statement. `people`: the terms of those who talk in its sources."""

    def __init__(self, text: str, people: frozenset[int]) -> None:
        self.text = text
        told = tokens(text)
        self.clauses = list(dict.fromkeys((read_value(clause).terms, _negated(clause)) for clause in _clauses(told)))
        after = [*(token.low for token in told[1:]), ""]
        self.value = read_value([token for token, following in zip(told, after, strict=False) if (token.low, following) != ("one", "'s")])
        self.units = [token.low for token in told if dimension(token.low)]
        self.names = _named(told, people)


@dataclass(frozen=True, slots=True)
class _Told:
    """A clause of a source."""

    sentence: str
    source: Cited
    value: Value
    negated: bool
    terms: frozenset[int]
    """Of the telling words, names and numbers among them."""
    people: frozenset[int]
    """The terms of who says it, and to whom."""
    about: frozenset[int]
    """The terms of the names in its sentence, and of who says it or to whom where it is of them; empty where it names nobody."""


def _told(source: Cited) -> Iterable[_Told]:
    speaker, hearer = (frozenset(map(term, words(name or ""))) for name in (source.author, source.to))
    for sentence in _sentences(source.text):
        whole = tokens(sentence)
        spoken_of = _spoken_of({token.low for token in whole}, speaker, hearer)
        about = _named(whole, speaker | hearer)
        for clause in _clauses(whole):
            value = read_value(clause)
            terms = value.terms | {h for token in clause for h in stems(fold(token.low))}
            yield _Told(sentence, source, value, _negated(clause), terms, speaker | hearer, about | spoken_of)


def _sentences(text: str) -> Iterable[str]:
    """The sentences of a text of any length."""
    for line in text.splitlines():
        while len(line) > LONGEST:
            cut = line.rfind(". ", 0, LONGEST) + 1 or line.rfind(" ", 0, LONGEST) + 1 or LONGEST
            yield from sentences(line[:cut])
            line = line[cut:]
        yield from sentences(line)


def _spoken_of(lows: set[str], speaker: frozenset[int], hearer: frozenset[int]) -> frozenset[int]:
    """Of whom a sentence is by its pronouns, as far as it is of speaker or hearer; of the speaker too where it has none (`Just got back.`)."""
    if lows & _FIRST_PERSON:
        return speaker
    if lows & _SECOND_PERSON:
        return hearer
    return frozenset() if lows & _THIRD_PERSON else speaker


def _named(whole: Sequence[Token], people: frozenset[int]) -> frozenset[int]:
    """The terms of the names in a sentence; its first word is one where it is of `people`, or a verb, a possessive or a further name follows."""
    names = read_value(whole).names
    first = {fold(token.low) for token in whole[:1]}
    following = whole[1] if len(whole) > 1 else None
    begun = following is not None and (following.capital or following.low == "'s" or following.low in AUXILIARIES or following.low in FORMS)
    if not begun and not all(people.issuperset(stems(word)) for word in first):
        names -= first
    return frozenset(h for name in names for h in stems(name))


def _clauses(whole: list[Token]) -> Iterable[list[Token]]:
    """The clauses of a sentence: what one negation reaches."""
    out: list[Token] = []
    for at, token in enumerate(whole):
        following = whole[at + 1] if at + 1 < len(whole) else None
        joins = token.low in ("and", "or") and following is not None and (following.low in _SUBJECTS or following.low in _DENYING)
        if token.low in _PARTING or joins:
            if out:
                yield out
            out = []
        else:
            out.append(token)
    if out:
        yield out


def _negated(told: Iterable[Token]) -> bool:
    return not _DENYING.isdisjoint(token.low for token in told)


def _fault_of(claim: _Claim, bearing: Sequence[_Told], known: frozenset[int], rules: Rules) -> Support:
    strange = [name for name in sorted(claim.value.names) if name not in _UNSAID and not known.issuperset(stems(name))]
    if strange:
        return Support("name", tuple(strange))
    numbers = [number for part in bearing for number in part.value.numbers]
    spoken = frozenset(h for part in bearing for h in part.terms | part.people)
    missing = [number for number in claim.value.numbers if not any(_same_number(number, other, claim.units) for other in numbers)]
    coded = [word for word in sorted(claim.value.words) if any(map(str.isdigit, word)) and not spoken.issuperset(stems(word))]
    if missing or coded:
        return Support("number", (*(f"{number:g}" for number, _ in missing), *coded))
    times = {time for part in bearing for time in part.value.times}
    if not claim.value.times <= times and not _reckoned(claim.text, bearing):
        return Support("time", tuple(sorted(f"{kind} {value}" for kind, value in claim.value.times - times)))
    plain = sorted(claim.value.words - claim.value.names - _UNSAID - STOP_WORDS)
    unsaid = [word for word in plain if not spoken.issuperset(stems(word))]
    if len(plain) - len(unsaid) < rules.words * len(plain):
        return Support("words", tuple(unsaid))
    return _against(claim, bearing)


def _bears(part: _Told, names: frozenset[int], people: frozenset[int]) -> bool:
    """Whether a clause can tell something of `names`: it is of one of those who talk that they name, or else of one of them, or of nobody."""
    talking, meant = part.about & people, names & people
    return bool(talking & meant) if talking and meant else not names or not part.about or bool(names & part.about)


def _same_number(number: Number, other: Number, units: Sequence[str]) -> bool:
    """Whether a source's number is that of a claim: of one measure, or one of them bare, as in `she is 34` and `34 years old`."""
    if number[1] in _MEASURES and other[1] not in _MEASURES:
        return number[0] == other[0] or any(number in read_value(tokens(f"{other[0]:g} {unit}")).numbers for unit in units)
    return number[0] == other[0] and (number[1] == other[1] or number[1] not in _MEASURES)


def _reckoned(text: str, bearing: Sequence[_Told]) -> bool:
    """Whether each time of `text` holds one that a source speaks of, reckoned from when it was said: May holds yesterday, yesterday not May."""
    claimed = [(time.start, time.end) for time in find_times(text)]
    spoken = [time for sentence, at in {(part.sentence, part.source.said_at) for part in bearing} for time in find_times(sentence, at)]
    within = [(time.start, time.end) for time in spoken if time.start is not None and time.end is not None]
    return bool(claimed) and all(
        start is not None and end is not None and any(start <= first and last <= end for first, last in within) for start, end in claimed
    )


def _against(claim: _Claim, bearing: Sequence[_Told]) -> Support:
    """Whether the clauses of sources that are nearest to a claim's clause deny what it says, or say what it denies."""
    for terms, negated in claim.clauses:
        nearest = _nearest(terms - claim.names, bearing)
        if nearest and all(part.negated is not negated for part in nearest):
            return Support("negation", (nearest[0].sentence,))
    nearest = _nearest(claim.value.terms - claim.names, bearing)
    opposed = (Relation.CONTRADICTION, Relation.UPDATE)
    told = dict.fromkeys((part.sentence, part.source.author) for part in nearest)  # a long source may say the same again and again
    said = [(Memory(sentence, author), Memory(claim.text, author)) for sentence, author in told]
    return Support("contradiction", (nearest[0].sentence,)) if said and all(compare(*pair).relation in opposed for pair in said) else Support()


def _nearest(terms: frozenset[int], bearing: Sequence[_Told]) -> list[_Told]:
    """The clauses that share the most of `terms`; none where no clause shares any."""
    shared = [len(terms & part.terms) for part in bearing]
    best = max(shared, default=0)
    return [part for part, count in zip(bearing, shared, strict=True) if best and count == best]
