"""String retrieval: values of keys, strings by their ends, variables that hold a value (tasks KV, Prefix-Suffix and MultiHop)."""

from __future__ import annotations

from itertools import pairwise

from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.page import Counter, Page, apart, filling, planted, too_short
from mnemos.bench.scbench.records import Span, Turn
from mnemos.bench.scbench.words import FILLER

KV_HEAD = "Extract the value of the specified key in the JSON object below.\n\nJSON data:\n"
SPAN_HEAD = "Below is a list of strings. You are asked for one of them by its beginning and its end.\n\n"
HOP_HEAD = "Memorise the assignments hidden in the text below. A variable that is assigned another one holds the value of that one.\n\n"
SHORTEST, LONGEST = 65, 122
"""Characters of a string of Prefix-Suffix, as published."""
ENDS = 8
"""Characters of the beginning and of the end that a question tells."""
HOPS = 2


def kv(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """One JSON object of pairs of identifiers; each turn asks for the value of a key. A decoy key differs from each asked one in its last digit."""
    pair = f'"{draws.identifier()}": "{draws.identifier()}", '
    n = (length - count(KV_HEAD) - 2) // count(pair)
    while True:
        if n < 2 * turns:
            raise too_short("kv", length, f"{turns} keys and as many decoys need {2 * turns} pairs of about {count(pair)} tokens")
        keys = [draws.identifier() for _ in range(n)]
        values = [draws.identifier() for _ in range(n)]
        asked = apart(draws.strata(n, turns), n)
        free = [i for i in range(n) if i not in set(asked)]
        for i, j in zip(asked, draws.sample(free, turns), strict=True):
            keys[j] = keys[i][:-1] + f"{(int(keys[i][-1], 16) + 1 + draws.below(15)) % 16:x}"
        pieces = [f'"{key}": "{value}"' for key, value in zip(keys, values, strict=True)]
        total = count(KV_HEAD) + 2 + sum(map(count, pieces)) + n - 1
        if total <= length:
            break
        n -= max(1, (total - length) // count(pair))
    page = Page()
    page.add(KV_HEAD + "{")
    spans: list[Span] = []
    for i, piece in enumerate(pieces):
        spans.append(page.add(piece))
        page.add(", " if i + 1 < n else "}")
    made = (Turn(f'What is the value of the key "{keys[i]}"? Answer with the value only.', values[i], evidence=(spans[i],)) for i in asked)
    return page.text, tuple(made)


def prefix_suffix(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Random strings, one a line; of each that is asked for there is one decoy with the same beginning and one with the same end."""
    budget = length - count(SPAN_HEAD)
    lines = filling(lambda: draws.text(draws.between(SHORTEST, LONGEST)), budget, count)
    n = len(lines)
    while True:
        if n < 3 * turns:
            raise too_short("prefix_suffix", length, f"{turns} strings with two decoys each need about {3 * turns * count('x' * 93)} tokens")
        asked = apart(draws.strata(n, turns), n)
        free = [i for i in range(n) if i not in set(asked)]
        decoys = draws.sample(free, 2 * turns)
        made = list(lines[:n])
        for turn, i in enumerate(asked):
            first, last = decoys[2 * turn], decoys[2 * turn + 1]
            made[first] = made[i][:ENDS] + made[first][ENDS:]
            made[last] = made[last][:-ENDS] + made[i][-ENDS:]
        if sum(map(count, made)) <= budget:
            break
        n -= 1
    page = Page()
    page.add(SPAN_HEAD)
    spans = []
    for text in made:
        spans.append(page.add(text))
        page.add("\n")
    ask = 'Which string begins with "{}" and ends with "{}"? Answer with the whole string only.'
    return page.text, tuple(Turn(ask.format(made[i][:ENDS], made[i][-ENDS:]), made[i], evidence=(spans[i],)) for i in asked)


def multi_hop(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Chains of assignments in noise, two hops each; a turn asks for all names that hold a value. As many chains again, at least two in all, are
    never asked for."""
    chains = max(2, 2 * turns)
    names = _names(draws, chains * (HOPS + 1))
    values = draws.sample(range(10_000, 100_000), chains)
    groups = [names[i * (HOPS + 1) : (i + 1) * (HOPS + 1)] for i in range(chains)]
    said = [
        [f"VAR {group[0]} = {value}.", *(f"VAR {after} = VAR {before}." for before, after in pairwise(group))]
        for group, value in zip(groups, values, strict=True)
    ]
    budget = length - count(HOP_HEAD) - sum(count(line) for lines in said for line in lines)
    if budget < 0:
        raise too_short("multi_hop", length, f"{chains} chains of {HOPS + 1} assignments need {length - budget} tokens")
    filler = filling(lambda: draws.choice(FILLER), budget, count)
    slots = len(filler) + 1
    places = draws.strata(slots, turns) + [draws.below(slots) for _ in range(chains - turns)]
    pieces: list[tuple[int, str]] = []
    numbers: list[list[int]] = []
    for lines, start in zip(said, places, strict=True):
        later = sorted(start + draws.below(slots - start) for _ in lines[1:])
        numbers.append(list(range(len(pieces), len(pieces) + len(lines))))
        pieces += zip([start, *later], lines, strict=True)
    page = Page()
    page.add(HOP_HEAD)
    spans: dict[int, Span] = {}
    for text, number in planted(filler, pieces):
        span = page.add(text)
        page.add(" ")
        if number is not None:
            spans[number] = span
    ask = "Which variables hold the value {}? Answer with all their names, separated by commas."
    made = (Turn(ask.format(values[i]), tuple(groups[i]), evidence=tuple(spans[number] for number in numbers[i])) for i in range(turns))
    return page.text, tuple(made)


def _names(draws: Draws, n: int) -> list[str]:
    """Different names of five capital letters, none of them a word of the noise."""
    names: dict[str, None] = {}
    while len(names) < n:
        names[draws.text(5, "BCDFGHJKLMNPQRSTVWXZ")] = None
    return list(names)
