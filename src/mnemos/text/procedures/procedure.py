"""One procedure: when to use it and what to do, with what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Any

from mnemos.base.cube import check_text, check_words, plain_json
from mnemos.base.errors import Invalid, shown
from mnemos.text.encoding import LONGEST_WHOLE
from mnemos.text.trajectories.slots import family, slotted

CATEGORIES = ("success", "failure", "comparative")
STEP_TYPES = ("reasoning", "action", "observation", "decision")
KEYS = ("scenario", "query", "generalised", "keywords")
"""What an entry can be found by; `Procedure.key` says what each is."""
LONGEST = LONGEST_WHOLE
"""Characters of a procedure in words: one memory, and no document of parts, each of which would pass for a procedure."""
MOST_QUERIES = 8
"""Tasks of other families that an entry names."""
LEAST_OVERLAP = 0.6
"""Share of the longer one's calls that the shorter of two sequences for different tasks has to have, for the shorter to do for both."""
_WHEN, _WHAT = "When to use: ", "What to do: "


class Standing(Enum):
    """How the calls of one entry stand to those of another."""

    SAME = "same"
    """The same calls, perhaps in another order that worked as well."""
    SHORTER = "shorter"
    LONGER = "longer"
    CROSSING = "crossing"
    """Some of the same: of two cures of one failure, what both did is what is needed."""


@dataclass(frozen=True, slots=True)
class Procedure:
    """E = (ω, e, κ, c, τ) of the paper (section 3.1), and what is needed to check, credit and revise it.

    `scenario` (ω) says when to use it, `content` (e) what to do, `keywords` κ, `confidence` c in 0..1, `tools` τ. `steps` are the calls that it
    advises, {"tool", "arguments"}, in order; `trigger` is the tool whose failure it answers, or before whose call the rest belongs. `query` is
    the task that it was distilled from, `queries` are tasks of other families in which it worked too, `score` is what its validation gave.
    `support` and `contradiction` count the runs for and against it. `author` names the model that wrote it, None the rules. `revision` grows
    when what it advises changes, and its counts begin anew.
    """

    scenario: str
    content: str
    category: str = "success"
    keywords: tuple[str, ...] = ()
    confidence: float = 0.5
    tools: tuple[str, ...] = ()
    step_type: str = "action"
    steps: tuple[Mapping[str, Any], ...] = ()
    trigger: str | None = None
    query: str = ""
    queries: tuple[str, ...] = ()
    score: float = 1.0
    support: int = 1
    contradiction: int = 0
    author: str | None = None
    revision: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def generalised_query(self) -> str:
        """The task without its particulars."""
        return slotted(self.query).text

    @property
    def families(self) -> frozenset[str]:
        """The families of tasks that it was found to be for (`slots.family`)."""
        return frozenset(map(family, (self.query or self.scenario, *self.queries)))

    @property
    def actions(self) -> tuple[str, ...]:
        """The tools that it says to call, in order; for what a model wrote, those that it names."""
        return tuple(str(step["tool"]) for step in self.steps) or (self.tools if self.author is not None else ())

    @property
    def text(self) -> str:
        """The procedure in words."""
        return f"{_WHEN}{self.scenario}\n{_WHAT}{self.content}"

    def keys(self, kind: str = "scenario") -> tuple[str, ...]:
        """The texts that it is found by: its `scenario` and those of the other tasks, the tasks' `query` as they were, these `generalised`, or its
        `keywords`."""
        if kind == "scenario":
            return self.scenario, *(scenario(slotted(query).text, self.tools) for query in self.queries)
        if kind == "query":
            return self.query or self.scenario, *self.queries
        if kind == "generalised":
            return self.generalised_query or self.scenario, *(slotted(query).text for query in self.queries)
        if kind == "keywords":
            return (" ".join(self.keywords) or self.scenario,)
        raise Invalid(f"key: {shown(kind)} is none of {', '.join(KEYS)}")

    def contradicts(self, other: Procedure) -> bool:
        """Whether both cannot hold: they are for the same tasks, or answer the same failure, and one calls first what the other calls later, or
        they know different cures of the failure; or this says what has to come before a call, and the other succeeded in it without."""
        if self.category == "comparative" and other.category == "success" and self.trigger in other.actions:
            before = other.actions[: other.actions.index(self.trigger)]
            return not set(self.actions[:-1]) <= set(before)
        if (self.category, self.trigger) != (other.category, other.trigger):
            return False
        if self.category == "failure" and self.trigger is not None:
            return self.extra.get("error") == other.extra.get("error") and self.stands_to(other) is None and self.identity != other.identity
        if not self.families & other.families:
            return False
        at, there = _places(self.actions), _places(other.actions)
        common = [tool for tool in at if tool in there]
        return any(at[a] < at[b] and there[a] > there[b] for a in common for b in common)

    @property
    def identity(self) -> Any:
        """What the rules wrote is the same where this is: the calls, and the error that they answer. None for what a model wrote."""
        return None if self.author is not None or not self.steps else (self.category, self.actions, self.extra.get("error"))

    def repeats(self, other: Procedure) -> bool:
        """Whether it advises the same as one whose words are as good as the same: the same calls, where the rules wrote both."""
        if self.identity is None or other.identity is None:
            return self.category == other.category
        return (self.category, self.trigger, self.actions) == (other.category, other.trigger, other.actions)

    def stands_to(self, other: Procedure) -> Standing | None:
        """How this stands to an entry with the same end: with the same calls, fewer of them, more, or some. None where they are about different
        things.

        Successes have the same end where they are for the same tasks, or end in the same call and differ in little; lessons of failures where
        they answer the same error; and a comparison adds nothing to what is known of the same call.
        """
        if self.identity is None or other.identity is None:
            return None
        mine, theirs = self.actions, other.actions
        if self.category == "comparative" and self.trigger is not None and self.trigger == other.trigger:  # a lesson of a failure says it, too
            return Standing.LONGER if is_subsequence(theirs, mine) or is_subsequence(mine, theirs) else None
        if self.category != other.category or self.category == "comparative":
            return None
        if self.category == "failure":
            alike = self.trigger is not None and (self.trigger, self.extra.get("error")) == (other.trigger, other.extra.get("error"))
        else:
            shorter, longer = sorted((len(mine), len(theirs)))
            alike = bool(self.families & other.families) or (mine[-1] == theirs[-1] and shorter >= max(2, LEAST_OVERLAP * longer))
        if not alike:
            return None
        if sorted(mine) == sorted(theirs):
            return Standing.SAME
        if is_subsequence(mine, theirs):
            return Standing.SHORTER
        if is_subsequence(theirs, mine):
            return Standing.LONGER
        return Standing.CROSSING if self.category == "failure" and len(common_places(mine, theirs)) > 1 else None

    def widened(self, other: Procedure) -> Procedure:
        """This, to be found for the tasks of `other`, too, where these are of other families; at most for eight."""
        queries = list(self.queries)
        known = set(self.families)
        for query in (other.query, *other.queries):
            if query and family(query) not in known and len(queries) < MOST_QUERIES:
                known.add(family(query))
                queries.append(query)
        return replace(self, queries=tuple(queries))

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values; fields that hold what they hold by default are left out."""
        out: dict[str, Any] = {"scenario": self.scenario, "content": self.content, "category": self.category}
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                out[name] = [dict(v) if isinstance(v, Mapping) else v for v in value] if isinstance(value, tuple) else value
        return out

    @classmethod
    def from_json(cls, record: object) -> Procedure:
        """The procedure that `as_json` described. Raises `Invalid`, naming the field."""
        if not isinstance(record, Mapping):
            raise Invalid(f"procedure: expected a dict with scenario and content, not {type(record).__name__}")
        unknown = record.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise Invalid(f"procedure: unknown field {shown(sorted(unknown, key=str)[0])}; known are {', '.join(f.name for f in fields(cls))}")
        values: dict[str, Any] = plain_json(dict(record), "procedure")
        for name in ("scenario", "content"):
            if not check_text(values.get(name), f"procedure: {name}").strip():
                raise Invalid(f"procedure: {name} is empty")
        for name in ("keywords", "tools", "queries"):
            if name in values:
                values[name] = check_words(values[name], f"procedure: {name}")
        for name, choices in (("category", CATEGORIES), ("step_type", STEP_TYPES)):
            if values.get(name, choices[0]) not in choices:
                raise Invalid(f"procedure: {name} {shown(values[name])} is none of {', '.join(choices)}")
        for name in ("confidence", "score"):
            if not _within(values.get(name, 0), 0, 1):
                raise Invalid(f"procedure: {name}: expected a number from 0 to 1, not {shown(values[name])}")
        for name in ("support", "contradiction", "revision"):
            if not isinstance(values.get(name, 0), int) or isinstance(values.get(name), bool) or values.get(name, 0) < 0:
                raise Invalid(f"procedure: {name}: expected a whole number, not {shown(values[name])}")
        for name in ("trigger", "author", "query"):
            if values.get(name) is not None:
                check_text(values[name], f"procedure: {name}")
        if "steps" in values:
            values["steps"] = tuple(_step(step) for step in _list(values["steps"], "steps"))
        if not isinstance(values.get("extra", {}), Mapping):
            raise Invalid("procedure: extra: expected a dict")
        if not isinstance(values.get("extra", {}).get("error") or "", str):
            raise Invalid(f"procedure: extra: error: expected a text, not {shown(values['extra']['error'])}")
        made = cls(**values)
        if len(made.text) > LONGEST:
            raise Invalid(f"procedure: {len(made.text):,} characters; scenario and content have at most {LONGEST:,} together: divide it")
        return made

    def supported(self, support: int, contradiction: int) -> Procedure:
        """With more runs for and against it, and the confidence that follows: support / (support + contradiction)."""
        pro, contra = self.support + support, self.contradiction + contradiction
        return replace(self, support=pro, contradiction=contra, confidence=confidence(pro, contra))


_DEFAULTS: dict[str, Any] = {
    f.name: (f.default_factory() if callable(f.default_factory) else f.default)
    for f in fields(Procedure) if f.name not in ("scenario", "content", "category")
}  # fmt: skip


def scenario(task: str, tools: Iterable[str]) -> str:
    """ω: the task without its particulars, and the tools at play."""
    named = ", ".join(dict.fromkeys(tools))
    return f"{task} [tools: {named}]" if named else task


def is_subsequence(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether all of `part` stands in `whole`, in this order."""
    rest = iter(whole)
    return all(one in rest for one in part)


def common_places(one: Sequence[str], other: Sequence[str]) -> list[int]:
    """Places in `one` of a longest common subsequence with `other`."""
    lengths = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) - 1, -1, -1):
        for j in range(len(other) - 1, -1, -1):
            lengths[i][j] = lengths[i + 1][j + 1] + 1 if one[i] == other[j] else max(lengths[i + 1][j], lengths[i][j + 1])
    out: list[int] = []
    i = j = 0
    while i < len(one) and j < len(other):
        if one[i] == other[j]:
            out.append(i)
            i, j = i + 1, j + 1
        elif lengths[i + 1][j] >= lengths[i][j + 1]:
            i += 1
        else:
            j += 1
    return out


def confidence(support: int, contradiction: int) -> float:
    """support / (support + contradiction), 0 without either."""
    return support / (support + contradiction) if support + contradiction else 0.0


def _places(actions: Sequence[str]) -> dict[str, int]:
    return {tool: place for place, tool in reversed(list(enumerate(actions)))}


def _within(value: object, low: float, high: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise Invalid(f"procedure: {name}: expected a list, not {type(value).__name__}")
    return value


def _step(step: object) -> Mapping[str, Any]:
    if not isinstance(step, Mapping) or not isinstance(step.get("tool"), str) or not isinstance(step.get("arguments", {}), Mapping):
        raise Invalid(f'procedure: a step is {{"tool": …, "arguments": {{…}}}}, not {shown(step)}')
    return {"tool": step["tool"], "arguments": dict(step.get("arguments", {}))}
