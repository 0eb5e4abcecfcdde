"""Judging answers without a language model, and auditing any judge before it is believed.

A lenient judge accepts most wrong answers that stay on the topic, so a judge's verdicts count only after it has been shown answers that are
known to be wrong, and has accepted at most one in twenty (the false-accept gate).
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.base.protocols import ChatModel
from mnemos.base.stats import Interval, cohen_kappa, krippendorff_alpha, wilson

FALSE_ACCEPTS = 0.05
"""Share of known-wrong answers that a judge may accept."""
FEWEST_PROBES = 73
"""With fewer, even a judge that accepts none has an upper bound above the gate."""

_NEAREST = 5
_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*|[^\W_]+(?:['’][^\W_]+)?")
_SMALL = "a an the of in on at to is was were are it its he she they his her their and or by for with from that this"
_FILLERS = frozenset(_SMALL.split())
_COUNTED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty"
)
_NUMBERS = {word: str(number) for number, word in enumerate(_COUNTED.split())}
_DENIED = "no not never none without nobody nothing neither nor"
_NEGATIONS = frozenset(_DENIED.split())
_SHORT_NOT = re.compile(r"n['’]t\b|(?<=can)not\b")
_REFUSAL = re.compile(
    r"\b(?:i (?:do not|don't|cannot|can't) (?:know|tell|say|answer)|no (?:information|record|mention)|not (?:mentioned|available|specified|known)"
    r"|unknown|unanswerable|cannot be answered)\b",
    re.IGNORECASE,
)


@runtime_checkable
class Judge(Protocol):
    """Says whether an answer is right."""

    @property
    def fingerprint(self) -> str:
        """Names the judge, its version, and the hash of its rules or prompt: verdicts of one fingerprint, and only those, are comparable."""
        ...

    def accepts(self, questions: Sequence[str], gold: Sequence[str], answers: Sequence[str]) -> list[bool]:
        """For each question, whether the answer says what the gold answer says."""
        ...


@dataclass(frozen=True)
class RuleJudge:
    """Accepts an answer that holds every content word and every number of the gold answer, agrees with it in negation, and brings at most
    `extra` numbers that are not in the gold answer. Words are compared without case, accents and plural s; numbers up to twenty also as words.

    `share` is the share of the gold answer's content words (numbers always count in full) that must be there; 1 is the strict judge. A judge
    that asks for less must pass the audit as any other.
    """

    share: float = 1.0
    extra: int = 0

    @property
    def fingerprint(self) -> str:
        return f"rule-judge-1 share={self.share:g} extra={self.extra}"

    def accepts(self, questions: Sequence[str], gold: Sequence[str], answers: Sequence[str]) -> list[bool]:
        return [self._one(question, right, said) for question, right, said in zip(questions, gold, answers, strict=True)]

    def _one(self, question: str, right: str, said: str) -> bool:
        if not said.strip() or _REFUSAL.search(said):
            return bool(_REFUSAL.search(right)) and bool(said.strip())
        wanted, offered = _words(right), _words(said)
        if bool(_NEGATIONS & set(wanted)) != bool(_NEGATIONS & set(offered)):
            return False
        numbers = {word for word in wanted if word[0].isdigit()}
        brought = {word for word in offered if word[0].isdigit()} - numbers - set(_words(question))
        if not numbers <= set(offered) or len(brought) > self.extra:
            return False
        words = {word for word in wanted if not word[0].isdigit()} - _FILLERS - _NEGATIONS
        if not words and not numbers:  # "on it", "no": nothing but small words, so all of them, where the answer begins
            return wanted == offered[: len(wanted)]
        return len(words & set(offered)) >= self.share * len(words)


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = _SHORT_NOT.sub(" not", "".join(c for c in plain if not unicodedata.combining(c)))
    words = (word.replace("’", "'").removesuffix("'s") for word in _WORD.findall(plain))
    return [_NUMBERS.get(word, word if word[0].isdigit() or len(word) < 4 or word.endswith("ss") else word.removesuffix("s")) for word in words]


PROMPT = (
    "You grade an answer against a reference. Reply with one word.\n"
    "Reply YES only if the answer states the same facts as the reference: the same people, things, numbers and dates. An answer that is about "
    "the same topic but states another fact, leaves a fact of the reference out, or hedges between several is wrong.\n"
    "Question: {question}\nReference: {gold}\nAnswer: {answer}\nSame facts (YES or NO):"
)


@dataclass(frozen=True)
class ChatJudge:
    """A language model as the judge, by a fixed prompt; whatever does not begin with YES is a rejection."""

    model: ChatModel
    prompt: str = PROMPT

    @property
    def fingerprint(self) -> str:
        return f"{self.model.fingerprint} prompt={hashlib.sha256(self.prompt.encode()).hexdigest()[:16]}"

    def accepts(self, questions: Sequence[str], gold: Sequence[str], answers: Sequence[str]) -> list[bool]:
        filled = [self.prompt.format(question=q, gold=g, answer=a) for q, g, a in zip(questions, gold, answers, strict=True)]
        said = self.model.complete([[{"role": "user", "content": text}] for text in filled], max_tokens=4)
        return [text.strip().upper().startswith("YES") for text in said]


@dataclass(frozen=True)
class Audit:
    """What an audit found. `passed` asks the interval: the judge is refused where it may accept more than the gate allows.

    `false_accepts` is the share of known-wrong answers accepted, `false_rejects` that of known-right ones rejected, `kappa` and `alpha` the
    agreement with human ratings where there are some.
    """

    judge: str
    false_accepts: Interval
    false_rejects: Interval | None
    gate: float
    kappa: float | None = None
    alpha: float | None = None
    accepted: tuple[int, ...] = field(default=(), repr=False)
    """Indices of the known-wrong answers that were accepted."""

    @property
    def passed(self) -> bool:
        return self.false_accepts.high <= self.gate


def audit(
    judge: Judge,
    questions: Sequence[str],
    gold: Sequence[str],
    wrong: Sequence[str],
    *,
    right: Sequence[str] | None = None,
    gate: float = FALSE_ACCEPTS,
    ratings: Sequence[Sequence[Hashable | None]] = (),
    rated: Sequence[tuple[str, str, str]] = (),
) -> Audit:
    """Show a judge answers that are known to be wrong (`wrong`, one a question), and known to be right (`right`, such as rewordings).

    `ratings`: what two or more people said (true or false, None where one did not) of the (question, gold, answer) in `rated`; kappa is the
    judge's agreement with the majority of them, alpha that of all raters with the judge among them. Raises `Invalid` for fewer than 73 probes.
    """
    if len(wrong) < FEWEST_PROBES:
        raise Invalid(f"judge audit: {len(wrong)} known-wrong answers prove nothing; give {FEWEST_PROBES} or more")
    verdicts = judge.accepts(questions, gold, wrong)
    accepted = tuple(i for i, verdict in enumerate(verdicts) if verdict)
    rejects = None
    if right is not None and len(right):
        rejects = wilson(len(right) - sum(judge.accepts(questions, gold, right)), len(right))
    kappa, alpha = _agreement(judge, rated, ratings) if ratings else (None, None)
    return Audit(judge.fingerprint, wilson(len(accepted), len(wrong)), rejects, gate, kappa, alpha, accepted)


def _agreement(judge: Judge, rated: Sequence[tuple[str, str, str]], ratings: Sequence[Sequence[Hashable | None]]) -> tuple[float, float]:
    if len(ratings) < 2 or any(len(row) != len(rated) for row in ratings):
        raise Invalid("judge audit: agreement needs two or more people, each with a rating (or None) for every rated answer")
    ours = judge.accepts(*(list(column) for column in zip(*rated, strict=True)))
    table = np.array([[np.nan if value is None else float(bool(value)) for value in row] for row in (*ratings, ours)])
    said = table[:-1]
    decided = (np.nansum(said == 1, axis=0) != np.nansum(said == 0, axis=0)).nonzero()[0]
    majority = [bool(np.sum(said[:, i] == 1) > np.sum(said[:, i] == 0)) for i in decided]
    if not majority:
        raise Invalid("judge audit: the raters are split on every answer; there is no majority to agree with")
    return cohen_kappa(majority, [ours[i] for i in decided]), krippendorff_alpha(table)


def wrong_answers(
    questions: Sequence[str], gold: Sequence[str], groups: Sequence[Hashable], rng: np.random.Generator, same: Callable[[str, str], bool]
) -> list[str | None]:
    """For each question an answer that is wrong but on its topic: the gold answer of another question of its group, of the closest length.

    Answers that are `same` as the right one are never taken; None where a group offers no other.
    """
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)

    def nearest(i: int) -> list[int]:
        """A few others of the group that are wrong for question `i`, those of the closest length first."""
        others = sorted(members[groups[i]], key=lambda j: abs(len(gold[j]) - len(gold[i])))
        wrong = (j for j in others if j != i and questions[j] != questions[i] and not same(gold[i], gold[j]))
        return list(itertools.islice(wrong, _NEAREST))

    chosen = [nearest(i) for i in range(len(groups))]
    return [gold[others[int(rng.integers(len(others)))]] if others else None for others in chosen]


def blurred(answer: str, rng: np.random.Generator) -> str | None:
    """`answer` with one number or word exchanged for another, as a known-wrong probe that is very close; None where it has neither."""
    spots = [match for match in _WORD.finditer(answer) if match.group().casefold() not in _FILLERS]
    if not spots:
        return None
    numbers = [match for match in spots if match.group()[0].isdigit()]
    spot = (numbers or spots)[int(rng.integers(len(numbers or spots)))]
    word = spot.group()
    other = re.sub(r"\d", lambda d: str((int(d.group()) + int(rng.integers(1, 10))) % 10), word) if numbers else f"other{word[::-1].casefold()}"
    return answer[: spot.start()] + other + answer[spot.end() :]
