"""What takes more than one look: chains of variables, extremes and counts of a list, rules by example, who is where, sums step by step."""

from __future__ import annotations

from random import Random

from mnemos.models.reference.language import NUMBERS, SYMBOLS
from mnemos.models.reference.tasks.session import Filler, Session, Turn, among, asked, laid

OPTIONS = ("a", "b", "c", "d")
MOST_COUNTED = 9


def chain(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """Variables that take a number or another variable's, up to two hops deep: a name's value by its hops, or all names of a value."""
    room = length - turns * 8
    most = min((room - 1) // 4, 240)
    lines_wanted = most if rng.random() < 0.5 else min(most, rng.randint(max(6, turns), max(24, turns)))
    chains: list[list[str]] = []
    names = iter(rng.sample(SYMBOLS, len(SYMBOLS)))
    values = rng.sample(NUMBERS, len(NUMBERS))
    left = lines_wanted
    while left > 0 and len(chains) < len(values):
        size = min(left, rng.choice((1, 2, 3, 3)))
        chains.append([next(names) for _ in range(size)])
        left -= size
    order = [number for number, members in enumerate(chains) for _ in members]
    rng.shuffle(order)
    step = [0] * len(chains)
    lines: list[list[str]] = []
    place: dict[str, int] = {}
    for number in order:
        members, at = chains[number], step[number]
        place[members[at]] = len(lines)
        lines.append([members[at], "=", members[at - 1] if at else values[number], ";"])
        step[number] += 1
    context, spans = among(rng, lines, room, filler)
    asks: list[Turn] = []
    every = [(number, at) for number, members in enumerate(chains) for at in range(len(members))]
    for number, at in rng.sample(every, turns):
        members, value = chains[number], values[number]
        if rng.random() < 0.5:
            used = members[: at + 1]
            asks.append(asked(["value", members[at]], [*reversed(members[:at]), value], [spans[place[name]] for name in used]))
        else:
            asks.append(asked(["names", value], members, [spans[place[name]] for name in members]))
    return Session("chain", context, asks)


def list_(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """Numbers from a random range: the largest, the smallest, how often one occurs (0 to 9 times)."""
    room = length - turns * 6
    low = rng.randrange(0, 80)
    high = rng.randint(low + 8, 99)
    count = min(room - 4, rng.randint(12, 300))
    numbers = [rng.randint(low, high) for _ in range(count)]
    context, (span,) = among(rng, [["list", ":", *map(str, numbers), ";"]], room, filler)
    first = span[0] + 2
    rare = [number for number in range(low, high + 1) if numbers.count(number) <= MOST_COUNTED]
    asks = []
    for _ in range(turns):
        kind = rng.choice(("max", "min", "count")) if rare else rng.choice(("max", "min"))
        if kind == "count":
            number = rng.choice(rare)
            places = [(first + at, first + at + 1) for at, other in enumerate(numbers) if other == number]
            asks.append(asked(["count", str(number)], [str(len(places))], places or [span]))
        else:
            number = (max if kind == "max" else min)(numbers)
            asks.append(asked([kind], [str(number)], [(first + numbers.index(number), first + numbers.index(number) + 1)]))
    return Session("list", context, asks)


def rule(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """Cases with labels: one of two columns decides, by a rule that only the cases tell; the asked case has a new word in the other column."""
    shots = (length - 1 - turns * 7) // 6
    drawn = rng.sample(SYMBOLS, len(SYMBOLS))
    labels, rest = drawn[: rng.randint(2, 4)], drawn[4:]
    features, rest = rest[: rng.randint(3, min(8, max(3, shots // 2)))], rest[8:]
    seen, unseen = rest[:160], rest[160:]
    label = {feature: labels[number % len(labels)] for number, feature in enumerate(features)}
    first = rng.random() < 0.5

    def case(feature: str, other: str) -> list[str]:
        return ["case", *((feature, other) if first else (other, feature))]

    used = [*features, *rng.choices(features, k=max(0, shots - len(features)))][:shots]
    rng.shuffle(used)
    context, spans = laid([[*case(feature, rng.choice(seen)), ":", label[feature], ";"] for feature in used])
    asks = []
    for _ in range(turns):
        feature = rng.choice(used)
        shown = [span for span, other in zip(spans, used, strict=True) if other == feature]
        asks.append(asked(case(feature, rng.choice(unseen)), [label[feature]], shown))
    return Session("rule", context, asks)


def world(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """People who move: where one is now (the last place counts), or which of four places that is."""
    room = length - turns * 16
    events = min((room - 1) // 4, rng.randint(max(12, turns), 200))
    people = max(4, turns, min(60, events // rng.randint(2, 5)))
    drawn = rng.sample(SYMBOLS, people + 40)
    names, places = drawn[:people], drawn[people : people + max(6, min(40, people))]
    who = [*names, *rng.choices(names, k=max(0, events - people))][:events]
    rng.shuffle(who)
    lines: list[list[str]] = []
    last: dict[str, tuple[str, int]] = {}
    for name in who:
        place = rng.choice([place for place in places if place != last.get(name, ("", 0))[0]])
        last[name] = (place, len(lines))
        lines.append([name, "in", place, ";"])
    context, spans = among(rng, lines, room, filler)
    asks = []
    for name in rng.sample(sorted(last), turns):
        place, line = last[name]
        others = sorted({other for other, _ in last.values()} - {place})
        if len(others) >= 3 and rng.random() < 0.4:
            options = [place, *rng.sample(others, 3)]
            rng.shuffle(options)
            shown = [word for letter, option in zip(OPTIONS, options, strict=True) for word in (letter, option)]
            asks.append(asked(["choose", name, "?", *shown], [place, OPTIONS[options.index(place)]], [spans[line]]))
        else:
            asks.append(asked(["where", name], [place], [spans[line]]))
    return Session("world", context, asks)


def run(rng: Random, length: int, turns: int, filler: Filler) -> Session:
    """A chain of sums modulo 10, to be worked out line by line: each result is the one before it plus or minus that of any earlier line.

    One turn, whatever `turns` says. Half of the operands are one of the first lines' names, which so come back after ever longer gaps.
    """
    starts = rng.randint(1, min(4, max(1, (length - 5) // 40)))
    steps = min(220, max(1, (length - 5 - starts * 11) // 15))
    names = rng.sample(SYMBOLS, starts + steps)
    lines: list[list[str]] = []
    answer: list[str] = []
    value: dict[str, int] = {}
    for number, name in enumerate(names):
        if number < starts:
            value[name] = rng.randrange(10)
            lines.append([name, ":", str(value[name]), ";"])
            answer += [name, ":", str(value[name]), "=", name, str(value[name]), ";"]
            continue
        operand = rng.choice(names[:starts] if rng.random() < 0.5 else names[:number])
        sign = rng.choice("+-")
        before = value[names[number - 1]]
        value[name] = (before + (value[operand] if sign == "+" else -value[operand])) % 10
        lines.append([name, ":", sign, operand, ";"])
        answer += [name, ":", str(before), sign, operand, str(value[operand]), "=", name, str(value[name]), ";"]
    context, spans = laid(lines)
    return Session("run", context, [asked(["run"], answer, spans)])
