"""Typed enumerative search: terms by increasing cost, those that give the same values for the same inputs looked at once, under a budget of nodes.

Bottom-up enumeration with observational equivalence, its order set by what each routine costs (the bits of its probability): ours, after the common
form of program synthesis by enumeration. A node is one application that was tried.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import log2
from typing import Any

from mnemos.text.concepts.concept import Problem
from mnemos.text.concepts.domain import Domain
from mnemos.text.concepts.terms import INPUT, IT, Failed, Library, Routine, Term, constant, function_of, variable
from mnemos.text.concepts.types import Type, function

UNITS = 2
"""Costs are counted in half bits."""
DEAREST = 200
"""Cost at which a search ends even if nodes are left."""
_Entry = tuple[Term, tuple[Any, ...]]
"""A term, and its value for each input of the problem."""


@dataclass(frozen=True, slots=True)
class Found:
    """A term that gives the right output for every pair that shows the rule, its answers for the test inputs, and the nodes that it took."""

    term: Term
    answers: tuple[Any, ...]
    nodes: int


def units(probability: float) -> int:
    """What a choice of this probability costs; at least 1."""
    return max(1, round(-UNITS * log2(probability)))


def even_costs(library: Library) -> dict[str, int]:
    """Costs without any knowledge: every routine of one result type is as likely."""
    counts: dict[Type, int] = defaultdict(int)
    for one in library.routines.values():
        counts[one.result] += 1
    return {one.name: units(1 / counts[one.result]) for one in library.routines.values()}


class Search:
    """One problem's search, with the routines of `library` that have a cost. `nodes` counts up while `solutions` is iterated over."""

    def __init__(self, domain: Domain, library: Library, problem: Problem, costs: Mapping[str, int], budget: int) -> None:
        self.nodes = 0
        self.budget = budget
        self.closest = 0.0
        """The largest share of pairs that some term had right and that was not all."""
        self._domain, self._library, self._costs = domain, library, costs
        self._routines = [library[name] for name in costs]
        self._inputs = problem.inputs
        self._wanted = tuple(domain.key(pair.output) for pair in problem.train)
        self._bank: dict[Type, dict[int, list[_Entry]]] = defaultdict(lambda: defaultdict(list))
        self._seen: dict[Type, set[Hashable]] = defaultdict(set)
        self._put(domain.input, 1, variable(INPUT), tuple(self._inputs))
        for name, values in domain.constants(problem).items():
            for value in values:
                self._put(Type(name), units(1 / len(values)), constant(name, value), (value,) * len(self._inputs))
        self._constants = {type for type in self._bank if type != domain.input}
        self._functions()

    def solutions(self) -> Iterator[Found]:
        """The solutions as they are found, cheapest first; those that answer the test inputs as an earlier one did are left out."""
        answered: set[Hashable] = set()
        for cost in range(2, DEAREST):
            for routine in self._routines:
                rest = cost - self._costs[routine.name]
                for args in self._arguments(routine.types, rest):
                    if self.nodes >= self.budget:
                        return
                    found = self._try(routine, args, cost)
                    if found is not None:
                        key = tuple(map(self._domain.key, found.answers))
                        if key not in answered:
                            answered.add(key)
                            yield found

    def _try(self, routine: Routine, args: Sequence[_Entry], cost: int) -> Found | None:
        self.nodes += 1
        values = []
        try:
            for place in range(len(self._inputs)):
                values.append(self._library.apply(routine, [one[1][place] for one in args]))
        except Failed:
            return None
        term = Term(routine.name, tuple(one[0] for one in args))
        keys = self._put(routine.result, cost, term, tuple(values))
        if keys is None or routine.result != self._domain.output or not self._wanted:
            return None
        right = sum(a == b for a, b in zip(keys, self._wanted, strict=False))
        if right < len(self._wanted):
            self.closest = max(self.closest, right / len(self._wanted))
            return None
        return Found(term, tuple(values[len(self._wanted) :]), self.nodes)

    def _put(self, type: Type, cost: int, term: Term, values: tuple[Any, ...]) -> tuple[Hashable, ...] | None:
        """Hold a term for larger ones; None where another has the same values."""
        keys = tuple(map(self._domain.key, values))
        if keys in self._seen[type]:
            return None
        self._seen[type].add(keys)
        self._bank[type][cost].append((term, values))
        return keys

    def _arguments(self, types: Sequence[Type], rest: int) -> Iterator[tuple[_Entry, ...]]:
        """All arguments of these types whose costs add up to `rest`."""
        if not types:
            if rest == 0:
                yield ()
            return
        bank = self._bank[types[0]]
        for cost in [one for one in bank if one <= rest - (len(types) - 1)]:
            later = [()] if len(types) == 1 and cost == rest else list(self._arguments(types[1:], rest - cost)) if len(types) > 1 else []
            if later:
                for entry in list(bank[cost]):
                    for others in later:
                        yield (entry, *others)

    def _functions(self) -> None:
        """Functions of one application: a routine of the value, its other arguments constants."""
        wanted = {type for one in self._routines for type in one.types if type.callable and len(type.parameters) == 1}
        for routine in self._routines:
            for place, type in enumerate(routine.types):
                target = function([type], routine.result)
                others = [one for at, one in enumerate(routine.types) if at != place]
                if target not in wanted or not self._constants.issuperset(others):
                    continue
                banks = [[(cost, term) for cost, held in self._bank[one].items() for term, _ in held] for one in others]
                for chosen in product(*banks):
                    given = [term for _, term in chosen]
                    made = function_of(Term(routine.name, (*given[:place], variable(IT), *given[place:])))
                    run = self._library.function(made)
                    cost = 1 + self._costs[routine.name] + sum(one for one, _ in chosen)
                    self._bank[target][cost].append((made, (run,) * len(self._inputs)))
