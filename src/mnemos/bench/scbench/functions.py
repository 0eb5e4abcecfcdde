"""Small Python functions made from facts (loop, condition, change, gathering, guard), and their descriptions in other words: task Code.RepoQA.

`facts_of` reads the facts back from source, by its syntax tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mnemos.base.errors import Invalid
from mnemos.bench.scbench.draws import Draws
from mnemos.bench.scbench.page import Counter, Page, filling, planted, too_short
from mnemos.bench.scbench.records import Turn

CODE_HEAD = "Below is the code of a repository. You are asked for functions of it by what they do.\n\n"
ASK = "Which function is described here? Reproduce it whole, exactly as it stands in the code.\n\n"
DECOYS = 2
"""Functions that differ from an asked one in a single fact."""

LOOPS = {
    "forward": "It visits the members one after the other from the front",
    "backward": "It visits the members one after the other from the rear",
    "index": "It counts positions up and looks each member up",
    "while": "It keeps going as long as a position has not reached the end",
}
CONDITIONS = {
    "greater": "leaves out whatever does not exceed {0}",
    "less": "leaves out whatever is not below {0}",
    "divides": "only considers multiples of {0}",
    "unlike": "skips any that equal {0}",
    "within": "only considers those whose size without sign is at most {0}",
}
CHANGES = {
    "same": "takes each unchanged",
    "square": "multiplies each with itself",
    "add": "raises each by {0}",
    "subtract": "lowers each by {0}",
    "times": "scales each by {0}",
    "modulo": "takes what remains of each after division by {0}",
}
GATHERINGS = {
    "sum": "and hands back their total.",
    "product": "and hands back the result of multiplying them together.",
    "largest": "and hands back the greatest of them.",
    "list": "and hands back all of them in a new collection.",
    "count": "and hands back how many different ones there were.",
}
GUARDS = {"none": "", "zero": "Nothing given means nought.", "minus": "Nothing given means one below nought.", "error": "Nothing given is refused."}
_START = {"sum": "0", "product": "1", "largest": "None", "list": "[]", "count": "set()"}
_NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_FIRST = ("ka", "be", "ti", "lo", "mu", "sa", "ne", "ri", "do", "vu", "ga", "pe", "fi", "zo", "hu", "ja")
_LAST = ("lun", "rak", "mos", "tev", "dil", "fan", "gor", "sim", "pex", "bur", "nol", "wik")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a function does. `limit` belongs to the condition, `by` to the change (0 where it needs none)."""

    loop: str
    condition: str
    limit: int
    change: str
    by: int
    gathering: str
    guard: str


def number_word(n: int) -> str:
    """`n`, 0 to 99, in words."""
    return _NUMBERS[n] if n < 20 else _TENS[n // 10 - 2] + (f"-{_NUMBERS[n % 10]}" if n % 10 else "")


def describe(facts: Facts) -> str:
    """The description: no word of it is one of the code."""
    limit, by = number_word(facts.limit), number_word(facts.by)
    parts = (LOOPS[facts.loop], CONDITIONS[facts.condition].format(limit), CHANGES[facts.change].format(by), GATHERINGS[facts.gathering])
    return f"{', '.join(parts)} {GUARDS[facts.guard]}".strip()


def drawn(draws: Draws) -> Facts:
    """Facts at random."""
    change = draws.choice(list(CHANGES))
    by = 0 if change in ("same", "square") else draws.between(2, 99)
    condition, limit = draws.choice(list(CONDITIONS)), draws.between(2, 99)
    return Facts(draws.choice(list(LOOPS)), condition, limit, change, by, draws.choice(list(GATHERINGS)), draws.choice(list(GUARDS)))


def varied(facts: Facts, draws: Draws) -> Facts:
    """The facts with one of them changed."""
    tables: Mapping[str, Mapping[str, str]] = {"loop": LOOPS, "condition": CONDITIONS, "gathering": GATHERINGS, "guard": GUARDS}
    field = draws.choice([*tables, "limit"])
    others: Sequence[int | str] = [n for n in range(2, 100) if n != facts.limit] if field == "limit" else \
        [value for value in tables[field] if value != getattr(facts, field)]  # fmt: skip
    changed: dict[str, Any] = {field: draws.choice(others)}
    return replace(facts, **changed)


def source(facts: Facts, draws: Draws) -> str:
    """A function that does this, under made-up names; ends with a line break."""
    name = f"{_made_up(draws)}_{_made_up(draws)}"
    items, out, item, at = _different(draws, 4)
    test = {
        "greater": f"{item} > {facts.limit}", "less": f"{item} < {facts.limit}", "divides": f"{item} % {facts.limit} == 0",
        "unlike": f"{item} != {facts.limit}", "within": f"abs({item}) <= {facts.limit}",
    }[facts.condition]  # fmt: skip
    value = {
        "same": item, "square": f"{item} * {item}", "add": f"{item} + {facts.by}", "subtract": f"{item} - {facts.by}",
        "times": f"{facts.by} * {item}", "modulo": f"{item} % {facts.by}",
    }[facts.change]  # fmt: skip
    keep = {
        "sum": f"{out} += {value}", "product": f"{out} *= {value}", "largest": f"{out} = {value} if {out} is None else max({out}, {value})",
        "list": f"{out}.append({value})", "count": f"{out}.add({value})",
    }[facts.gathering]  # fmt: skip
    guard = {"none": [], "zero": ["return 0"], "minus": ["return -1"], "error": ['raise ValueError("empty")']}[facts.guard]
    lines = [f"def {name}({items}):"]
    if guard:
        lines += [f"    if not {items}:", f"        {guard[0]}"]
    lines.append(f"    {out} = {_START[facts.gathering]}")
    if facts.loop in ("forward", "backward"):
        lines.append(f"    for {item} in {items if facts.loop == 'forward' else f'reversed({items})'}:")
        lines += [f"        if {test}:", f"            {keep}"]
    elif facts.loop == "index":
        lines += [f"    for {at} in range(len({items})):", f"        {item} = {items}[{at}]", f"        if {test}:", f"            {keep}"]
    else:
        lines += [f"    {at} = 0", f"    while {at} < len({items}):", f"        {item} = {items}[{at}]", f"        if {test}:", f"            {keep}"]
        lines.append(f"        {at} += 1")
    lines.append(f"    return {f'len({out})' if facts.gathering == 'count' else out}")
    return "\n".join(lines) + "\n"


def facts_of(code: str) -> Facts:
    """The facts of a function's source, by its syntax tree. Raises `Invalid` where it is none of this kind."""
    try:
        (function,) = ast.parse(code).body
        if not isinstance(function, ast.FunctionDef):
            raise TypeError("not a function")
        return _read(function)
    except (SyntaxError, ValueError, TypeError, AttributeError, KeyError, IndexError, StopIteration) as problem:
        raise Invalid(f"code: this is no function of the kind that is generated: {problem}") from problem


def _read(function: ast.FunctionDef) -> Facts:
    body = list(function.body)
    guard = "none"
    if isinstance(body[0], ast.If):
        does = body.pop(0).body[0]  # type: ignore[attr-defined]
        guard = "error" if isinstance(does, ast.Raise) else {"0": "zero", "-1": "minus"}[ast.unparse(does.value)]
    loop = next(node for node in body if isinstance(node, ast.For | ast.While))
    over = ast.unparse(loop.iter) if isinstance(loop, ast.For) else ""
    how = "while" if not over else "index" if over.startswith("range(") else "backward" if over.startswith("reversed(") else "forward"
    (branch,) = [node for node in loop.body if isinstance(node, ast.If)]
    test = ast.unparse(branch.test)
    condition = (
        "within" if test.startswith("abs(") else "divides" if " % " in test else "unlike" if "!=" in test else "greater" if " > " in test else "less"
    )
    limit = int(re.findall(r"\d+", test)[0])
    kept = ast.unparse(branch.body[0])
    end = ast.unparse(body[-1])
    assigned = {" += ": "sum", " *= ": "product", " = ": "largest"}
    sign = next((sign for sign in assigned if sign in kept), "")
    gathering = assigned[sign] if sign else "count" if end.startswith("return len(") else "list"
    value = kept.split(sign)[1].split(" if ")[0] if sign else kept[kept.index("(") + 1 : -1]
    numbers = re.findall(r"\d+", value)
    if not numbers:
        change = "square" if " * " in value else "same"
    else:
        change = "add" if " + " in value else "subtract" if " - " in value else "modulo" if " % " in value else "times"
    return Facts(how, condition, limit, change, int(numbers[0]) if numbers else 0, gathering, guard)


def functions_in(context: str) -> list[str]:
    """All top-level functions of a text, each ending with a line break."""
    return [found.group() for found in re.finditer(r"^def .*\n(?:(?:[ \t].*)?\n)*[ \t].*\n", context, re.MULTILINE)]


def repoqa(length: int, turns: int, draws: Draws, count: Counter) -> tuple[str, tuple[Turn, ...]]:
    """Code of many functions; each turn describes one, of which there are `DECOYS` that differ in one fact."""
    context, asked = repository("repoqa", length, turns, draws, count, ())
    return context, asked


def repository(
    task: str, length: int, turns: int, draws: Draws, count: Counter, more: tuple[tuple[str, ...], ...]
) -> tuple[str, tuple[Turn, ...]]:
    """Code with `turns` functions that are asked for, in different depths, and their turns. `more` are other pieces to plant, in groups that are each
    spread over all depths."""
    seen: set[Facts] = set()

    def fresh() -> Facts:
        while (facts := drawn(draws)) in seen:
            pass
        seen.add(facts)
        return facts

    wanted = [fresh() for _ in range(turns)]
    decoys: list[Facts] = []
    for facts in wanted:
        for _ in range(DECOYS):
            while (decoy := varied(facts, draws)) in seen:
                pass
            seen.add(decoy)
            decoys.append(decoy)
    special = [source(facts, draws) for facts in (*wanted, *decoys)]
    others = [piece for group in more for piece in group]
    budget = length - count(CODE_HEAD) - sum(count(piece) + 1 for piece in (*special, *others))
    if budget < 0:
        raise too_short(task, length, f"{len(special)} functions and {len(others)} other pieces need {length - budget} tokens")
    filler = filling(lambda: source(fresh(), draws), budget, lambda piece: count(piece) + 1)
    slots = len(filler) + 1
    places = draws.strata(slots, turns) + [draws.below(slots) for _ in decoys]
    places += [place for group in more for place in draws.strata(slots, len(group))]
    page = Page()
    page.add(CODE_HEAD)
    spans = {}
    for text, number in planted(filler, list(zip(places, [*special, *others], strict=True))):
        span = page.add(text)
        page.add("\n")
        if number is not None:
            spans[number] = span
    asked = (Turn(ASK + describe(facts), special[i].rstrip("\n"), evidence=(spans[i],)) for i, facts in enumerate(wanted))
    return page.text, tuple(asked)


def _made_up(draws: Draws) -> str:
    return draws.choice(_FIRST) + draws.choice(_LAST)


def _different(draws: Draws, n: int) -> list[str]:
    names: dict[str, None] = {}
    while len(names) < n:
        names[_made_up(draws)] = None
    return list(names)


