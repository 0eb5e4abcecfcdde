"""How answers are scored. Texts are compared after case folding; an empty expectation is met by an empty answer only."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_CODE = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"-?\d+")
_CHOSEN = re.compile(r"\(([A-Z])\)|\b(?i:answer|option|choice)\b[^A-Za-z]*(?:is\b)?[^A-Za-z(]*\(?([A-Z])\b|^\W*([A-Z])\b")
_FENCE = re.compile(r"```[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)


def substring(answer: str, expected: str) -> float:
    """1 where the answer holds what is expected, else 0 (the published script's measure of retrieval and of En.QA)."""
    if not expected:
        return float(not answer)
    return float(expected.casefold() in answer.casefold())


def names_fraction(answer: str, expected: Sequence[str]) -> float:
    """The share of the expected names that the answer holds as whole words; of no names, 1 where the answer holds none either."""
    said = set(_WORD.findall(answer.casefold()))
    if not expected:
        return float(not said)
    return sum(set(_WORD.findall(name.casefold())) <= said for name in expected) / len(expected)


def f1(answer: Sequence[str], expected: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of two bags; 1 for two empty ones."""
    if not answer or not expected:
        return float(not answer and not expected)
    common = sum((Counter(answer) & Counter(expected)).values())
    return 2 * common / (len(answer) + len(expected))


def character_f1(answer: str, expected: str) -> float:
    """F1 over characters, without white space and punctuation (Zh.QA)."""
    return f1(_characters(answer), _characters(expected))


def _characters(text: str) -> list[str]:
    return [character for character in text.casefold() if character.isalnum()]


def letter(answer: str, options: int | None = None) -> str | None:
    """The letter that an answer chooses: "(B)", "The answer is B", or an answer that begins with it, whichever comes first; None where there is none,
    or none of the first `options` letters."""
    for found in _CHOSEN.finditer(answer):
        chosen: str = next(group for group in found.groups() if group)
        if options is None or ord(chosen) - ord("A") < options:
            return chosen
    return None


def choice(answer: str, expected: str, options: Sequence[str] = ()) -> float:
    """1 where the right letter is chosen; of an answer without a letter, where it holds the right option and no other.

    `expected` is a letter, or the text of the option, as some published files have it.
    """
    chosen = letter(answer, len(options) or None)
    wanted = expected if len(expected) == 1 or expected not in options else chr(ord("A") + options.index(expected))
    if chosen is not None:
        return float(chosen == wanted)
    place = ord(wanted) - ord("A") if len(wanted) == 1 else -1
    named = [i for i, option in enumerate(options) if option and option.casefold() in answer.casefold()]
    return float(named == [place])


def first_number(answer: str) -> int | None:
    """The first whole number of an answer; None where there is none."""
    found = _NUMBER.search(answer)
    return int(found.group()) if found and len(found.group()) < 4000 else None


def number(answer: str, expected: str) -> float:
    """1 where the first number of the answer is the expected one."""
    wanted = first_number(expected)
    return float(wanted is not None and first_number(answer) == wanted)


def code_tokens(text: str) -> list[str]:
    """Words and signs of code; of a fenced answer, of what is in the first fence."""
    fenced = _FENCE.search(text)
    return _CODE.findall(fenced.group(1) if fenced else text)


def bleu(answer: Sequence[str], expected: Sequence[str], order: int = 4) -> float:
    """Sentence BLEU of tokens (Papineni et al. 2002) with one reference. Counts of n-grams above 1 have one added above and below (Lin and Och 2004),
    so that a short answer is not 0 for want of a 4-gram. 1 for two empty sequences, 0 where one is empty or no word is shared."""
    if not answer or not expected:
        return float(not answer and not expected)
    logs = 0.0
    for n in range(1, order + 1):
        mine, theirs = _grams(answer, n), _grams(expected, n)
        matched, total = sum((mine & theirs).values()), sum(mine.values())
        extra = int(n > 1)
        if matched + extra == 0:
            return 0.0
        logs += math.log((matched + extra) / (total + extra))
    short = min(0.0, 1 - len(expected) / len(answer))
    return math.exp(short + logs / order)


def _grams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def best_match(answer: str, candidates: Sequence[str]) -> tuple[int, float]:
    """The candidate that is most like the answer by BLEU, the first of equals, and how like; (-1, 0) without candidates."""
    said = code_tokens(answer)
    scores = [bleu(said, code_tokens(candidate)) for candidate in candidates]
    best = max(range(len(scores)), key=lambda i: (scores[i], -i), default=-1)
    return best, scores[best] if scores else 0.0


def code_match(answer: str, expected: str, candidates: Sequence[str], threshold: float = 0.8) -> float:
    """1 where, of all functions, the expected one is most like the answer, with BLEU of at least `threshold` (RepoQA)."""
    others = [candidate for candidate in candidates if candidate.strip() != expected.strip()]
    place, score = best_match(answer, [expected, *others])
    return float(place == 0 and score >= threshold)


def rouge_l(answer: str, expected: str) -> float:
    """Summary-level ROUGE-L, F1 (Lin 2004, 3.2): for each line of the expected summary the union of its longest common subsequences with all lines
    of the answer; a word counts at most as often as both have it. 1 for two empty texts."""
    mine = [_WORD.findall(line.casefold()) for line in answer.splitlines()]
    theirs = [_WORD.findall(line.casefold()) for line in expected.splitlines()]
    left, right = Counter(word for line in mine for word in line), Counter(word for line in theirs for word in line)
    total = sum(left.values()) + sum(right.values())
    if not left or not right:
        return float(total == 0)
    hits = 0
    for line in theirs:
        union = sorted({place for other in mine for place in _common(line, other)})
        for place in union:
            word = line[place]
            if left[word] > 0 and right[word] > 0:
                hits += 1
                left[word] -= 1
                right[word] -= 1
    return 2 * hits / total


def _common(one: Sequence[str], other: Sequence[str]) -> list[int]:
    """Places in `one` of a longest common subsequence with `other`; of several, the one that a walk from the ends finds, leaving a word of `one`
    first where both would do."""
    known = set(other)
    if known.isdisjoint(one):
        return []
    rows = [[0] * (len(other) + 1)]
    for word in one:
        above, row = rows[-1], [0]
        for j, against in enumerate(other):
            row.append(above[j] + 1 if word == against else max(above[j + 1], row[j]))
        rows.append(row)
    places: list[int] = []
    i, j = len(one), len(other)
    while i and j:
        if one[i - 1] == other[j - 1]:
            places.append(i - 1)
            i, j = i - 1, j - 1
        elif rows[i - 1][j] >= rows[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return places[::-1]


def fact_recall(answer: str, facts: Sequence[Sequence[str]]) -> float:
    """The share of facts all of whose strings the answer holds, each as whole words; 1 without facts."""
    said = _padded(answer)
    return sum(all(_padded(part) in said for part in fact) for fact in facts) / len(facts) if facts else 1.0


def _padded(text: str) -> str:
    return " ".join(["", *_WORD.findall(text.casefold()), ""]) or " "
