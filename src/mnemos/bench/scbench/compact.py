"""The twelve tasks in the compact language of the reference model (`mnemos.models.reference`), a word a token, with evidence in stratified depths.

The language is the reference model's; what is put into it, where, and beside which decoys is SCBench's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mnemos.base.errors import Invalid
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.page import apart, planted, too_short
from mnemos.bench.scbench.records import Span, Turn
from mnemos.models.reference.language import ANSWER, NUMBERS, QUESTION, START, SYMBOLS, WORDS
from mnemos.models.reference.tasks.code import FACTS

Line = list[str]
Made = tuple[str, tuple[Turn, ...]]

LETTERS = ("a", "b", "c", "d")
VALUE, PASSAGE = 2, 16
"""Symbols of a value and of a passage."""
MOST_EVENTS, MOST_NUMBERS, MOST_COUNTED = 200, 300, 9
"""What a context holds at most of moves and of numbers, and how often a number that is counted occurs: as the reference model knows them."""
HOPS = 2
_PLAIN = tuple(word for word in WORDS[40:240] if not word.startswith("##"))


class Words:
    """A context that grows by lines of words with one space between them, and knows where each lies, in characters."""

    def __init__(self) -> None:
        self._words = [START]
        self._at = len(START)

    def add(self, line: Sequence[str]) -> Span:
        start = self._at + 1
        self._words += line
        self._at += sum(map(len, line)) + len(line)
        return start, self._at

    @property
    def text(self) -> str:
        return " ".join(self._words)


def compact(task: str, length: int, turns: int, draws: Draws) -> Made:
    """A context of at most `length` words that begins with `<s>`, and its turns: questions from `<q>` to `<a>`, answers without `<end>`.
    Raises `Invalid` where what is asked does not fit, or the language has not words enough for it."""
    return _MAKERS[task](length, turns, draws)


def _ask(words: Sequence[str], answer: Sequence[str], evidence: Sequence[Span], options: Sequence[str] = (), task: str | None = None) -> Turn:
    return Turn(" ".join([QUESTION, *words, ANSWER]), " ".join(answer), tuple(options), task, evidence=tuple(evidence))


def _room(task: str, n: int, least: int, length: int) -> None:
    if n < least:
        raise too_short(task, length, f"at least {least} lines are needed, and {max(0, n)} fit")


def _pairs(draws: Draws, n: int) -> list[tuple[str, str]]:
    """Different pairs of symbols; single symbols recur."""
    found: dict[tuple[str, str], None] = {}
    while len(found) < n:
        found[draws.choice(SYMBOLS), draws.choice(SYMBOLS)] = None
    return list(found)


def _values(draws: Draws, n: int, size: int) -> list[Line]:
    return [[draws.choice(SYMBOLS) for _ in range(size)] for _ in range(n)]


def _keyed(n: int, asked: Sequence[int], size: int, draws: Draws) -> list[Line]:
    """Lines `K K : V … ;`; for each that is asked for, another has the same first key symbol."""
    keys = _pairs(draws, n)
    taken = set(keys)
    free = [i for i in range(n) if i not in set(asked)]
    for i, j in zip(asked, draws.sample(free, min(len(free), len(asked))), strict=False):
        decoy = keys[i][0], draws.choice([symbol for symbol in SYMBOLS if (keys[i][0], symbol) not in taken])
        keys[j] = decoy
        taken.add(decoy)
    return [[*key, ":", *value, ";"] for key, value in zip(keys, _values(draws, n, size), strict=True)]


def _told(lines: Sequence[Line]) -> tuple[str, list[Span]]:
    """The lines one after the other, and where each lies."""
    page = Words()
    spans = [page.add(line) for line in lines]
    return page.text, spans


def _kv(length: int, turns: int, draws: Draws) -> Made:
    n = (length - 1) // (VALUE + 4)
    _room("kv", n, 2 * turns, length)
    asked = apart(draws.strata(n, turns), n)
    lines = _keyed(n, asked, VALUE, draws)
    context, spans = _told(lines)
    return context, tuple(_key(lines[i], spans[i]) for i in asked)


def _key(line: Line, span: Span, task: str | None = None) -> Turn:
    return _ask(["key", *line[:2]], line[3:-1], [span], task=task)


def _prefix_suffix(length: int, turns: int, draws: Draws) -> Made:
    n = (length - 1) // 8
    _room("prefix_suffix", n, 3 * turns, length)
    asked = apart(draws.strata(n, turns), n)
    heads, tails, middles = _pairs(draws, n), _pairs(draws, n), _pairs(draws, n)
    free = [i for i in range(n) if i not in set(asked)]
    for turn, (first, last) in enumerate(zip(*[iter(draws.sample(free, 2 * turns))] * 2, strict=True)):
        heads[first], tails[last] = heads[asked[turn]], tails[asked[turn]]
    context, spans = _told([["span", *head, *middle, *tail, ";"] for head, middle, tail in zip(heads, middles, tails, strict=True)])
    return context, tuple(_ask(["span", *heads[i], "_", "_", *tails[i]], middles[i], [spans[i]]) for i in asked)


def _filler(draws: Draws, n: int) -> list[str]:
    """Common words in sentences: `n` words, each a piece of its own for planting, so that lines come between any two."""
    words: list[str] = []
    while len(words) < n:
        words += [*(draws.choice(_PLAIN) for _ in range(draws.between(5, 14))), "."]
    return words[:n]


def _among(lines: Sequence[tuple[int, Line]], filler: Sequence[str]) -> tuple[str, list[Span]]:
    """Lines (slot, words) among words of filler, and where each lies."""
    page = Words()
    spans: dict[int, Span] = {}
    for text, number in planted(filler, [(slot, " ".join(line)) for slot, line in lines]):
        span = page.add(text.split(" "))
        if number is not None:
            spans[number] = span
    return page.text, [spans[i] for i in range(len(lines))]


def _multi_hop(length: int, turns: int, draws: Draws) -> Made:
    chains = max(2, 2 * turns, min(32, length // 48))
    if chains * (HOPS + 1) > len(SYMBOLS) or chains > len(NUMBERS):
        raise Invalid(f"multi_hop: the compact language has no names for {chains} chains; ask fewer turns")
    spare = length - 1 - 4 * (HOPS + 1) * chains
    if spare < 0:
        raise too_short("multi_hop", length, f"{chains} chains need {length - spare} words")
    names, values = draws.sample(SYMBOLS, chains * (HOPS + 1)), draws.sample(NUMBERS, chains)
    places = draws.strata(spare + 1, turns) + [draws.below(spare + 1) for _ in range(chains - turns)]
    lines: list[tuple[int, Line]] = []
    groups = []
    for i, start in enumerate(places):
        group = names[i * (HOPS + 1) : (i + 1) * (HOPS + 1)]
        groups.append(group)
        slots = [start, *sorted(start + draws.below(spare + 1 - start) for _ in group[1:])]
        lines += [(slot, [name, "=", before, ";"]) for slot, name, before in zip(slots, group, [values[i], *group], strict=False)]
    context, spans = _among(lines, _filler(draws, spare))
    made = (_ask(["names", values[i]], groups[i], spans[i * (HOPS + 1) : (i + 1) * (HOPS + 1)]) for i in range(turns))
    return context, tuple(made)


def _functions(n: int, asked: Sequence[int], draws: Draws) -> tuple[list[Line], list[Line]]:
    """Functions that differ in some fact, and their descriptions; of each that is asked for, as many others as there is room for share two facts."""
    every = [(one, two, three) for one in FACTS[0] for two in FACTS[1] for three in FACTS[2]]
    if n > min(len(every), len(SYMBOLS)):
        raise Invalid(f"repoqa: the compact language has names for {min(len(every), len(SYMBOLS))} functions, not for {n}")
    wanted = draws.sample(every, len(asked))
    near = {facts for each in wanted for facts in every if sum(a == b for a, b in zip(facts, each, strict=True)) == 2} - set(wanted)
    decoys = draws.sample(sorted(near), min(len(near), 2 * len(asked), n - len(asked)))
    rest = draws.sample([facts for facts in every if facts not in {*wanted, *decoys}], n - len(asked) - len(decoys))
    others = iter(draws.shuffled([*decoys, *rest]))
    places = {place: number for number, place in enumerate(asked)}
    described = [wanted[places[i]] if i in places else next(others) for i in range(n)]
    code = []
    for name, facts in zip(draws.sample(SYMBOLS, n), described, strict=True):
        source, kept, done = (table[fact].split() for fact, table in zip(facts, FACTS, strict=True))
        result = [draws.choice(SYMBOLS), draws.choice(SYMBOLS)]
        code.append(["fn", name, "(", *source, ")", "{", *kept, ";", *done, ";", "return", *result, ";", "}"])
    return code, [list(facts) for facts in described]


CODE_WORDS = 18


def _repoqa(length: int, turns: int, draws: Draws) -> Made:
    n = min((length - 1) // CODE_WORDS, len(SYMBOLS))
    _room("repoqa", n, 3 * turns, length)
    asked = apart(draws.strata(n, turns), n)
    code, described = _functions(n, asked, draws)
    context, spans = _told(code)
    return context, tuple(_ask(["code", *described[i]], code[i][1:], [spans[i]]) for i in asked)


def _world(task: str, length: int, turns: int, draws: Draws) -> tuple[str, list[tuple[str, str, Span]], list[str]]:
    """People who move; (person, last place, where it is told) of those who are asked for, and the last places of all, at least four."""
    n = min((length - 1) // 4, MOST_EVENTS)
    people = max(turns + 3, min(60, n // 4))
    _room(task, n, people + turns, length)
    drawn = draws.sample(SYMBOLS, people + max(8, min(40, people)))
    names, places = drawn[:people], drawn[people:]
    asked = names[:turns]
    ends = dict(zip(apart([turns + slot for slot in draws.strata(n - turns, turns)], n), asked, strict=True))
    last: dict[str, tuple[str, int]] = {}
    gone: set[str] = set()
    lines: list[Line] = []
    for i in range(n):
        who = ends.get(i) or draws.choice([name for name in names if name not in gone])
        if i in ends:
            gone.add(who)
        where = draws.choice([place for place in places if place != last.get(who, ("", 0))[0]])
        last[who] = where, i
        lines.append([who, "in", where, ";"])
    spare = length - 1 - 4 * n
    slots = sorted(draws.below(spare + 1) for _ in lines)
    context, spans = _among(list(zip(slots, lines, strict=True)), _filler(draws, spare))
    true = sorted({where for where, _ in last.values()})
    _room(task, len(true), len(LETTERS), length)
    return context, [(who, last[who][0], spans[last[who][1]]) for who in asked], true


def _qa(length: int, turns: int, draws: Draws) -> Made:
    context, asked, _ = _world("qa", length, turns, draws)
    return context, tuple(_ask(["where", who], [where], [span]) for who, where, span in asked)


def _choice(length: int, turns: int, draws: Draws) -> Made:
    context, asked, true = _world("choice", length, turns, draws)
    right = [letter for _ in range(0, turns, len(LETTERS)) for letter in draws.shuffled(LETTERS)]
    made = []
    for (who, where, span), letter in zip(asked, right, strict=False):
        options = draws.sample([place for place in true if place != where], len(LETTERS) - 1)
        options.insert(LETTERS.index(letter), where)
        listed = [word for pair in zip(LETTERS, options, strict=True) for word in pair]
        made.append(_ask(["choose", who, "?", *listed], [where, letter], [span], options))
    return context, tuple(made)


def _math_find(length: int, turns: int, draws: Draws) -> Made:
    n = min(length - 4, MOST_NUMBERS)
    _room("math_find", n, 12, length)
    low = draws.below(80)
    high = low + draws.between(8, min(60, 99 - low))
    numbers = [draws.between(low + 1, high - 1) for _ in range(n)]
    ends = apart(draws.strata(n, 2), n)
    numbers[ends[0]], numbers[ends[1]] = high, low
    rare = [number for number in range(100) if numbers.count(number) <= MOST_COUNTED]
    spare = length - 4 - n
    line = ["list", ":", *map(str, numbers), ";"]
    context, (span,) = _among([(draws.below(spare + 1), line)], _filler(draws, spare))
    starts = [span[0] + len("list : ")]
    for number in numbers:
        starts.append(starts[-1] + len(str(number)) + 1)
    places = [(start, start + len(str(number))) for start, number in zip(starts, numbers, strict=False)]
    asked = draws.shuffled(["max", "min"])[:turns]
    made = [_ask([kind], [str(high if kind == "max" else low)], [places[ends[kind == "min"]]]) for kind in asked]
    if turns - len(made) > len(rare):
        raise Invalid(f"math_find: there are {len(rare) + 2} questions about a list of the compact language, not {turns}")
    likely = [number for number in rare if low <= number <= high]
    chosen = draws.sample(likely if len(likely) >= turns - len(made) else rare, turns - len(made))
    for number in chosen:
        where = [place for place, other in zip(places, numbers, strict=True) if other == number]
        made.append(_ask(["count", str(number)], [str(len(where))], where or [span]))
    return context, tuple(draws.shuffled(made))


def _many_shot(length: int, turns: int, draws: Draws) -> Made:
    n = (length - 1) // 6
    _room("many_shot", n, 8, length)
    drawn = draws.sample(SYMBOLS, len(SYMBOLS))
    labels, features, seen, unseen = drawn[: draws.between(2, 4)], drawn[4 : 4 + draws.between(3, 8)], drawn[12:172], drawn[172:]
    label = {feature: labels[i % len(labels)] for i, feature in enumerate(features)}
    first = draws.chance(50)

    def case(feature: str, other: str) -> Line:
        return ["case", *((feature, other) if first else (other, feature))]

    shown = draws.shuffled([*features, *(draws.choice(features) for _ in range(n - len(features)))])
    context, spans = _told([[*case(feature, draws.choice(seen)), ":", label[feature], ";"] for feature in shown])
    made = []
    for _ in range(turns):
        feature = draws.choice(features)
        evidence = [span for span, other in zip(spans, shown, strict=True) if other == feature]
        made.append(_ask(case(feature, draws.choice(unseen)), [label[feature]], evidence, sorted(labels)))
    return context, tuple(made)


def _summary(length: int, turns: int, draws: Draws) -> Made:
    n = (length - 1) // (PASSAGE + 4)
    _room("summary", n, turns + 1, length)
    asked = apart(draws.strata(n, turns), n)
    lines = _keyed(n, asked, PASSAGE, draws)
    context, spans = _told(lines)
    return context, tuple(_key(lines[i], spans[i]) for i in asked)


def _summary_needles(length: int, turns: int, draws: Draws) -> Made:
    notes = turns // 2
    n = (length - 1 - 8 * 2 * notes) // (PASSAGE + 4)
    _room("summary_needles", n, turns - notes + 1, length)
    asked = apart(draws.strata(n, turns - notes), n)
    lines = _keyed(n, asked, PASSAGE, draws)
    noted = [[".", "note", *key, "is", *value, "."] for key, value in zip(_pairs(draws, 2 * notes), _values(draws, 2 * notes, VALUE), strict=True)]
    places = draws.strata(n + 1, notes) + [draws.below(n + 1) for _ in range(notes)]
    context, spans, planted_at = _mixed(lines, list(zip(places, noted, strict=True)))
    found = [_ask(["note", *noted[i][2:4]], noted[i][5:7], [planted_at[i]], task="needle") for i in range(notes)]
    return context, _in_turn([_key(lines[i], spans[i]) for i in asked], found)


def _repoqa_kv(length: int, turns: int, draws: Draws) -> Made:
    lookups = turns // 2
    pairs = max(2 * lookups, min(100, length // (3 * (VALUE + 4))))
    n = min((length - 1 - pairs * (VALUE + 4)) // CODE_WORDS, len(SYMBOLS))
    _room("repoqa_kv", n, 2 * (turns - lookups), length)
    asked = apart(draws.strata(n, turns - lookups), n)
    code, described = _functions(n, asked, draws)
    lines = _keyed(pairs, range(lookups), VALUE, draws)
    places = draws.strata(n + 1, lookups) + [draws.below(n + 1) for _ in range(pairs - lookups)]
    context, spans, planted_at = _mixed(code, list(zip(places, lines, strict=True)))
    found = [_key(lines[i], planted_at[i], "kv") for i in range(lookups)]
    return context, _in_turn([_ask(["code", *described[i]], code[i][1:], [spans[i]]) for i in asked], found)


def _mixed(lines: Sequence[Line], more: Sequence[tuple[int, Line]]) -> tuple[str, list[Span], list[Span]]:
    """Lines with others planted among them, and where each of both lies."""
    page = Words()
    first: list[Span] = []
    second: dict[int, Span] = {}
    for text, number in planted([" ".join(line) for line in lines], [(slot, " ".join(line)) for slot, line in more]):
        span = page.add(text.split(" "))
        if number is None:
            first.append(span)
        else:
            second[number] = span
    return page.text, first, [second[i] for i in range(len(more))]


def _in_turn(first: Sequence[Turn], second: Sequence[Turn]) -> tuple[Turn, ...]:
    return (*(turn for pair in zip(first, second, strict=False) for turn in pair), *first[len(second) :])


_MAKERS: dict[str, Callable[[int, int, Draws], Made]] = {
    "kv": _kv, "prefix_suffix": _prefix_suffix, "multi_hop": _multi_hop, "repoqa": _repoqa, "qa_english": _qa, "qa_chinese": _qa, "choice": _choice,
    "math_find": _math_find, "many_shot": _many_shot, "summary": _summary, "summary_needles": _summary_needles, "repoqa_kv": _repoqa_kv,
}  # fmt: skip
