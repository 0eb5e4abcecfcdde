"""Library learning: what solutions have in common becomes a parameterised routine, where that makes all of them together shorter to write down.

Candidates are the most specific generalisations of pairs of subterms (anti-unification, Plotkin, A note on inductive generalization, 1970); the
criterion is minimum description length: bits of the library's bodies and of all solutions written with it must drop. Ours, within that form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import lgamma, log, log2

from mnemos.base.errors import Invalid
from mnemos.text.concepts.terms import INPUT, IT, Library, Routine, Term, function_of, variable
from mnemos.text.concepts.types import Type

MOST_PARAMETERS = 3
LEAST_CALLS = 2
"""Applications in a body; fewer are no abstraction."""
MOST_WEIGHED = 60
"""Candidates of one round that are weighed in full, those that promise most first."""
_NAME_PARTS = 5


@dataclass(frozen=True, slots=True)
class Pattern:
    """A body with the types of its parameters, which it names p0, p1, …"""

    body: Term
    types: tuple[Type, ...]


class _Unlike(Exception):
    """Two terms have nothing in common that could be a body here."""


@dataclass
class _Typed:
    """Types of subterms of solutions over one library."""

    library: Library
    variables: Mapping[str, Type]
    cache: dict[tuple[Term, Type | None], Type] = field(default_factory=dict)

    def of(self, term: Term, it: Type | None) -> Type:
        key = (term, it)
        if key not in self.cache:
            self.cache[key] = self.library.type_of(term, {**self.variables, **({IT: it} if it is not None else {})})
        return self.cache[key]


def subterms(term: Term, library: Library, it: Type | None = None) -> Iterator[tuple[Term, Type | None]]:
    """The applications within a term, outermost first, each with the type of `it` where it stands in a function."""
    if term.kind != "call":
        return
    yield term, it
    for one, wanted in zip(term.args, library[term.op].types, strict=True):
        if one.kind == "function":
            yield from subterms(one.args[0], library, wanted.parameters[0])
        else:
            yield from subterms(one, library, it)


def generalised(one: tuple[Term, Type | None], other: tuple[Term, Type | None], typed: _Typed) -> Pattern | None:
    """The most specific pattern of two applications; every variable, and every pair of parts that differ, becomes a parameter, the same pair the
    same one. None where too little is common, or it would take too many parameters."""
    holes: dict[tuple[Term, Term], tuple[str, Type]] = {}

    def hole(a: Term, b: Term, a_type: Type, b_type: Type) -> Term:
        if a_type != b_type:
            raise _Unlike
        name, _ = holes.setdefault((a, b), (f"p{len(holes)}", a_type))
        return variable(name)

    def meet(a: Term, b: Term, a_it: Type | None, b_it: Type | None, bound: bool) -> Term:
        if a.kind == b.kind == "call" and a.op == b.op:
            args = []
            for left, right, wanted in zip(a.args, b.args, typed.library[a.op].types, strict=True):
                if wanted.callable:
                    args.append(_met_functions(left, right, wanted))
                else:
                    args.append(meet(left, right, a_it, b_it, bound))
            return Term(a.op, tuple(args))
        if a.kind == b.kind == "constant" and a == b:
            return a
        if bound and a.kind == b.kind == "variable" and a.op == b.op == IT:
            return a
        if bound and (IT in a.free() or IT in b.free()):
            raise _Unlike
        return hole(a, b, typed.of(a, a_it), typed.of(b, b_it))

    def _met_functions(left: Term, right: Term, wanted: Type) -> Term:
        if left.kind == right.kind == "function":
            before = dict(holes)
            try:
                return function_of(meet(left.args[0], right.args[0], wanted.parameters[0], wanted.parameters[0], True))
            except _Unlike:
                holes.clear()
                holes.update(before)
        if left.kind != "function" and right.kind != "function" and left != right:
            raise _Unlike
        return hole(left, right, wanted, wanted)

    try:
        body = meet(one[0], other[0], one[1], other[1], False)
    except _Unlike:
        return None
    calls = sum(part.kind == "call" for part in body.subterms())
    if body.kind != "call" or calls < LEAST_CALLS or len(holes) > MOST_PARAMETERS:
        return None
    order = [name for name in body.free() if name != IT]
    kinds = dict(holes.values())
    renamed = {name: variable(f"p{place}") for place, name in enumerate(order)}
    return Pattern(body.put(renamed), tuple(kinds[name] for name in order))


def matched(body: Term, term: Term, bound: bool = False, found: dict[str, Term] | None = None) -> dict[str, Term] | None:
    """The parameters for which `body` is `term`; None where there are none."""
    found = {} if found is None else found
    if body.kind == "variable":
        if body.op == IT:
            return found if term == body else None
        if bound and IT in term.free():
            return None
        return found if found.setdefault(body.op, term) == term else None
    if body.kind != term.kind or body.op != term.op or body.value != term.value or len(body.args) != len(term.args):
        return None
    for one, other in zip(body.args, term.args, strict=True):
        if matched(one, other, bound or body.kind == "function", found) is None:
            return None
    return found


def rewritten(term: Term, routine: Routine) -> Term:
    """The term with the routine in the place of its body, outermost first."""
    assert routine.body is not None
    values = matched(routine.body, term) if term.kind == "call" else None
    if values is not None:
        return Term(routine.name, tuple(rewritten(values[name], routine) for name, _ in routine.parameters))
    return Term(term.op, tuple(rewritten(one, routine) for one in term.args), term.kind, term.value) if term.args else term


def expanded(term: Term, library: Library) -> Term:
    """The term with every routine that has a body replaced by it, down to primitives."""
    args = tuple(expanded(one, library) for one in term.args)
    if term.kind != "call":
        return Term(term.op, args, term.kind, term.value) if args else term
    routine = library[term.op]
    if routine.body is None:
        return Term(term.op, args)
    return expanded(routine.body.put({name: one for (name, _), one in zip(routine.parameters, args, strict=True)}), library)


def description_length(terms: Iterable[Term], routines: int) -> float:
    """Bits of these terms (solutions and bodies) by an adaptive code over one alphabet, in which a symbol is the cheaper the more often it was seen
    (Krichevsky and Trofimov, The performance of universal encoding, 1981): `routines`, variables, and constants by type, whose values are as likely
    as each other."""
    counts: Counter[str] = Counter()
    values: dict[str, Counter[str]] = {}
    for term in terms:
        for one in term.subterms():
            if one.kind == "constant":
                counts[f"{one.op}:"] += 1
                values.setdefault(one.op, Counter())[str(one.value)] += 1
            elif one.kind != "function":
                counts["x" if one.kind == "variable" else one.op] += 1
    size = routines + len(values) + 1
    total = sum(counts.values())
    told = lgamma(total + size / 2) - lgamma(size / 2) - sum(lgamma(count + 0.5) - lgamma(0.5) for count in counts.values())
    return told / log(2) + sum(held.total() * log2(len(held)) for held in values.values())


def learn(
    solutions: Mapping[str, Term], library: Library, types: Mapping[str, Type], fresh: Iterable[str] | None = None, most: int = 10
) -> tuple[list[Routine], dict[str, Term]]:
    """New routines out of solutions by problem, and the solutions written with them. `fresh`: problems that are new since the last call: candidates
    have a part in them. `types`: of the variables of solutions. At most `most` routines, each the one that saves most bits."""
    held = dict(solutions)
    new = set(held) if fresh is None else set(fresh)
    made: list[Routine] = []
    while len(made) < most:
        routine = _best(held, library, types, new)
        if routine is None:
            break
        made.append(routine)
        library = library.with_routines([routine])
        held = {name: rewritten(term, routine) for name, term in held.items()}
    return made, held


def _best(held: Mapping[str, Term], library: Library, types: Mapping[str, Type], new: set[str]) -> Routine | None:
    """The routine that saves most bits; None where none saves any."""
    typed = _Typed(library, types)
    where: dict[tuple[Term, Type | None], set[str]] = {}
    for name, term in held.items():
        for part in subterms(term, library):
            where.setdefault(part, set()).add(name)
    parts = list(where)
    ours = [part for part in parts if where[part] & new]
    heads: dict[str, list[tuple[Term, Type | None]]] = {}
    for part in parts:
        heads.setdefault(part[0].op, []).append(part)
    patterns: dict[Pattern, set[str]] = {}
    for part in ours:
        for other in heads[part[0].op]:
            if part == other and len(where[part]) < 2:
                continue
            pattern = generalised(part, other, typed)
            if pattern is not None:
                patterns.setdefault(pattern, set()).update(where[part] | where[other])
    promising = sorted(patterns, key=lambda one: (-(one.body.size - len(one.types)) * len(patterns[one]), str(one.body)))
    known = [one.body for one in library.routines.values() if one.body is not None]
    before = description_length([*held.values(), *known], len(library.routines))
    best: tuple[float, Routine] | None = None
    for pattern in promising[:MOST_WEIGHED]:
        routine = Routine(_name(pattern, library), tuple((f"p{n}", type) for n, type in enumerate(pattern.types)), _result(pattern, typed),
                          body=pattern.body, about=" then ".join(reversed(pattern.body.routines())))  # fmt: skip
        written = [rewritten(term, routine) for term in held.values()]
        after = description_length([*written, *known, pattern.body], len(library.routines) + 1)
        if after < before and (best is None or after < best[0]):
            best = after, routine
    return best[1] if best is not None else None


def _result(pattern: Pattern, typed: _Typed) -> Type:
    return typed.library[pattern.body.op].result


def _name(pattern: Pattern, library: Library) -> str:
    """A name from the routines of the body, innermost first, that the library does not have."""
    parts = list(reversed([one.op for one in pattern.body.subterms() if one.kind == "call"]))
    constants = [f"{one.value}" for one in pattern.body.subterms() if one.kind == "constant"]
    shown = [*parts[:_NAME_PARTS], *(["more"] if len(parts) > _NAME_PARTS else [])]
    base = "_then_".join(one.replace("_then_", "_and_") for one in shown) + ("_" + "_".join(constants) if constants else "")
    base = "".join(one if one.isalnum() or one == "_" else "_" for one in base)[:120]
    name, number = base, 2
    while name in library:
        name, number = f"{base}_{number}", number + 1
    return name


def check_term(term: Term, library: Library, input: Type, output: Type) -> None:
    """Raise `Invalid` unless a term is one of this library that turns `input` into `output`."""
    found = library.type_of(term, {INPUT: input})
    if found != output:
        raise Invalid(f"term: gives a {found}, not a {output}: {term}")
