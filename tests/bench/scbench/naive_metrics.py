"""The metrics of SCBench once more, as plainly as they can be written, to check the others against."""

from __future__ import annotations

import math
import unicodedata


def is_word(character: str) -> bool:
    return character == "_" or character.isalnum() or unicodedata.category(character) in ("No", "Nl")


def words(text: str) -> list[str]:
    out, now = [], ""
    for character in text:
        if is_word(character):
            now += character
        elif now:
            out.append(now)
            now = ""
    return out + [now] * bool(now)


def substring(answer: str, expected: str) -> float:
    if expected == "":
        return 1.0 if answer == "" else 0.0
    a, b = answer.casefold(), expected.casefold()
    return 1.0 if any(a[i : i + len(b)] == b for i in range(len(a))) else 0.0


def names(answer: str, expected: list[str]) -> float:
    said = words(answer.casefold())
    if len(expected) == 0:
        return 0.0 if said else 1.0
    found = 0
    for name in expected:
        found += all(part in said for part in words(name.casefold()))
    return found / len(expected)


def characters(answer: str, expected: str) -> float:
    left = [c for c in answer.casefold() if c.isalnum()]
    right = [c for c in expected.casefold() if c.isalnum()]
    if not left or not right:
        return 1.0 if left == right else 0.0
    common, rest = 0, list(right)
    for c in left:
        if c in rest:
            rest.remove(c)
            common += 1
    if not common:
        return 0.0
    precision, recall = common / len(left), common / len(right)
    return 2 * precision * recall / (precision + recall)


def first_number(text: str) -> int | None:
    for i, c in enumerate(text):
        if c.isdecimal():
            end = i
            while end < len(text) and text[end].isdecimal():
                end += 1
            return int(text[i:end]) * (-1 if i and text[i - 1] == "-" else 1)
    return None


def bleu(answer: list[str], expected: list[str]) -> float:
    if not answer or not expected:
        return 1.0 if answer == expected else 0.0
    product = 1.0
    for n in range(1, 5):
        mine = [tuple(answer[i : i + n]) for i in range(len(answer) - n + 1)]
        theirs = [tuple(expected[i : i + n]) for i in range(len(expected) - n + 1)]
        matched = 0
        for gram in mine:
            if gram in theirs:
                theirs.remove(gram)
                matched += 1
        plus = 1 if n > 1 else 0
        if matched + plus == 0:
            return 0.0
        product *= ((matched + plus) / (len(mine) + plus)) ** 0.25
    return product * min(1.0, math.exp(1 - len(expected) / len(answer)))


def lcs(one: list[str], other: list[str]) -> list[int]:
    """Places in `one`, found by recursion from the ends with a memo of lengths."""
    memo: dict[tuple[int, int], int] = {}

    def length(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        if (i, j) not in memo:
            memo[i, j] = length(i - 1, j - 1) + 1 if one[i - 1] == other[j - 1] else max(length(i - 1, j), length(i, j - 1))
        return memo[i, j]

    def walk(i: int, j: int) -> list[int]:
        if i == 0 or j == 0:
            return []
        if one[i - 1] == other[j - 1]:
            return [*walk(i - 1, j - 1), i - 1]
        return walk(i - 1, j) if length(i - 1, j) >= length(i, j - 1) else walk(i, j - 1)

    return walk(len(one), len(other))


def rouge_l(answer: str, expected: str) -> float:
    mine = [words(line.casefold()) for line in answer.splitlines()]
    theirs = [words(line.casefold()) for line in expected.splitlines()]
    flat_mine = [w for line in mine for w in line]
    flat_theirs = [w for line in theirs for w in line]
    if not flat_mine or not flat_theirs:
        return 1.0 if flat_mine == flat_theirs else 0.0
    hits, left, right = 0, list(flat_mine), list(flat_theirs)
    for line in theirs:
        union: set[int] = set()
        for other in mine:
            union |= set(lcs(line, other))
        for place in sorted(union):
            if line[place] in left and line[place] in right:
                left.remove(line[place])
                right.remove(line[place])
                hits += 1
    if not hits:
        return 0.0
    precision, recall = hits / len(flat_mine), hits / len(flat_theirs)
    return 2 * precision * recall / (precision + recall)


def fact_recall(answer: str, facts: list[tuple[str, ...]]) -> float:
    if not facts:
        return 1.0
    said = words(answer.casefold())

    def told(part: str) -> bool:
        wanted = words(part.casefold())
        return any(said[i : i + len(wanted)] == wanted for i in range(len(said) + 1))

    return sum(all(told(part) for part in fact) for fact in facts) / len(facts)


def code_tokens(text: str) -> list[str]:
    if "```" in text and "\n" in text[text.index("```") :]:
        text = text[text.index("```") :]
        text = text[text.index("\n") + 1 :]
        text = text[: text.index("```")] if "```" in text else text
    out: list[str] = []
    inside = False
    for character in text:
        if is_word(character):
            out = [*out[:-1], out[-1] + character] if inside else [*out, character]
        elif not character.isspace():
            out.append(character)
        inside = is_word(character)
    return out


def code_match(answer: str, expected: str, candidates: list[str]) -> float:
    """Every candidate is compared, one after the other; none may be more like the answer than the expected one."""
    said = code_tokens(answer)
    right = bleu(said, code_tokens(expected))
    others = [bleu(said, code_tokens(candidate)) for candidate in candidates if candidate.strip() != expected.strip()]
    return 1.0 if right >= 0.8 and all(right >= other for other in others) else 0.0
