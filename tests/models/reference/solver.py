"""Answers questions of the compact language by parsing the context: written against the grammar in the documentation, not the generators."""

from __future__ import annotations

import re

_CODE = {
    "list": "[ ]", "set": "{ }", "queue": "< ]", "tree": "^ ^", "row": "- -", "file": "@ /", "map": ": :", "names": '" "',
    "even": "% 2", "odd": "% 1", "positive": "> 0", "negative": "< 0", "big": "> 9", "small": "< 9", "first": "# 0", "last": "# 9",
    "sum": "+ =", "product": "* =", "largest": "> =", "smallest": "< =", "count": "+ 1", "turned": "- =", "keep": "| =", "find": "/ =",
}  # fmt: skip


def solve(context: str, question: str) -> str:
    """The answer, without `<end>`, to a question (without its marks) on a context."""
    kind, *cue = question.split()
    return {
        "key": _key, "note": _note, "span": _span, "value": _value, "names": _names, "max": _extreme, "min": _extreme, "count": _count,
        "case": _case, "where": _where, "choose": _choose, "code": _code, "run": _run,
    }[kind](context, kind, cue)  # fmt: skip


def _key(context: str, kind: str, cue: list[str]) -> str:
    (value,) = re.findall(rf"(?:;|<s>) {' '.join(cue)} : ([a-z ]+?) ;", context)
    return str(value)


def _note(context: str, kind: str, cue: list[str]) -> str:
    (value,) = re.findall(rf"\. note {' '.join(cue)} is (\w+ \w+) \.", context)
    return str(value)


def _span(context: str, kind: str, cue: list[str]) -> str:
    (value,) = re.findall(rf"span {cue[0]} {cue[1]} (\w+ \w+) {cue[4]} {cue[5]} ;", context)
    return str(value)


def _assigned(context: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+) = (\w+) ;", context))


def _value(context: str, kind: str, cue: list[str]) -> str:
    assigned, hops, name = _assigned(context), [], cue[0]
    while name in assigned:
        name = assigned[name]
        hops.append(name)
    return " ".join(hops)


def _names(context: str, kind: str, cue: list[str]) -> str:
    found = {cue[0]}
    for name, given in re.findall(r"(\w+) = (\w+) ;", context):
        if given in found:
            found.add(name)
    return " ".join(name for name in _assigned(context) if name in found)


def _numbers(context: str) -> list[int]:
    (listed,) = re.findall(r"list : ([0-9 ]+) ;", context)
    return [int(number) for number in listed.split()]


def _extreme(context: str, kind: str, cue: list[str]) -> str:
    return str(sorted(_numbers(context))[-1 if kind == "max" else 0])


def _count(context: str, kind: str, cue: list[str]) -> str:
    return str(sum(number == int(cue[0]) for number in _numbers(context)))


def _case(context: str, kind: str, cue: list[str]) -> str:
    shots = re.findall(r"case (\w+) (\w+) : (\w+) ;", context)
    labels = {label for one, two, label in shots if (one in cue or two in cue)}
    (label,) = labels
    return str(label)


def _where(context: str, kind: str, cue: list[str]) -> str:
    return str(re.findall(rf"\b{cue[0]} in (\w+) ;", context)[-1])


def _choose(context: str, kind: str, cue: list[str]) -> str:
    place = _where(context, "where", cue)
    return f"{place} {cue[cue.index(place, 2) - 1]}"


def _code(context: str, kind: str, cue: list[str]) -> str:
    source, kept, done = (_CODE[word] for word in cue)
    (body,) = [body for body in re.findall(r"fn (\w+ \( .*? \) .*? return \w+ \w+ ; \})", context) if f"( {source} ) {{ {kept} ; {done} ;" in body]
    return str(body)


def _run(context: str, kind: str, cue: list[str]) -> str:
    known: dict[str, int] = {}
    before, lines = 0, []
    for line in context.removeprefix("<s> ").rstrip(" ;").split(" ; "):
        name, _, *rest = line.split()
        if len(rest) == 1:
            known[name] = int(rest[0])
            shown = rest[0]
        else:
            sign, other = rest
            known[name] = int(str(before + known[other] if sign == "+" else before + 10 - known[other])[-1])
            shown = f"{before} {sign} {other} {known[other]}"
        before = known[name]
        lines.append(f"{name} : {shown} = {name} {before} ;")
    return " ".join(lines)
