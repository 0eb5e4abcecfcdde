"""Questions about a whole list of numbers (task Math.Find)."""

from __future__ import annotations

from collections import Counter as Tally

from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.page import Counter, Page, too_short
from mnemos.bench.scbench.records import Span, Turn

LIST_HEAD = "Below is a list of numbers. Answer the questions about it with one number.\n\n"
OPERATIONS = ("largest", "smallest", "median", "mode", "rank", "above")
WIDTH = (120, 600)
"""How far the largest number is above the smallest: the range is drawn for each list, so that no answer can be guessed from it."""


def math_find(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Three-digit numbers in a range that is drawn; the extremes occur once each, the mode is unique, and the count is odd."""
    low = draws.between(100, 399)
    high = low + draws.between(*WIDTH)
    each = count(" 555,")
    n = (length - count(LIST_HEAD)) // each
    n -= 1 - n % 2
    if n < 9:
        raise too_short("math_find", length, f"a list of nine numbers needs {9 * each + count(LIST_HEAD)} tokens")
    numbers = [draws.between(low + 1, high - 1) for _ in range(n)]
    ends = draws.strata(n, 2)
    numbers[ends[0]], numbers[ends[1]] = high, low
    _with_mode(numbers, ends, draws)
    page = Page()
    page.add(LIST_HEAD)
    places: list[Span] = []
    for i, number in enumerate(numbers):
        places.append(page.add(str(number)))
        page.add(", " if i + 1 < n else "\n")
    whole = (places[0][0], places[-1][1])
    made = []
    order = [operation for _ in range(0, turns, len(OPERATIONS)) for operation in draws.shuffled(OPERATIONS)]
    for operation in order[:turns]:
        question, answer = asked(operation, numbers, draws)
        evidence = places[ends[0]] if operation == "largest" else places[ends[1]] if operation == "smallest" else whole
        made.append(Turn(question, str(answer), evidence=(evidence,)))
    return page.text, tuple(made)


def _with_mode(numbers: list[int], ends: list[int], draws: Draws) -> None:
    """Makes one number the most frequent, by overwriting others; never the extremes."""
    free = [i for i in range(len(numbers)) if i not in ends]
    mode = numbers[draws.choice(free)]
    for i in draws.shuffled(free):
        (_, most), *rest = Tally(numbers).most_common(2)
        if Tally(numbers)[mode] == most and (not rest or rest[0][1] < most):
            return
        numbers[i] = mode


def asked(operation: str, numbers: list[int], draws: Draws) -> tuple[str, int]:
    """A question of that kind, and its answer."""
    ordered = sorted(numbers)
    if operation == "rank":
        rank = draws.between(2, min(9, len(numbers) - 1))
        return f"Of all numbers put in falling order, which stands at place {rank}?", ordered[-rank]
    if operation == "above":
        bound = draws.choice(ordered[len(ordered) // 4 : 3 * len(ordered) // 4])
        return f"How many numbers are greater than {bound}?", sum(number > bound for number in numbers)
    words, value = {
        "largest": ("largest number", ordered[-1]), "smallest": ("smallest number", ordered[0]), "median": ("median", ordered[len(ordered) // 2]),
        "mode": ("most frequent number", Tally(numbers).most_common(1)[0][0]),
    }[operation]  # fmt: skip
    return f"What is the {words} of the list?", value
