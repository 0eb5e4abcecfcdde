"""How a language model evolves, merges and plans. Whatever it says is checked: ids that it was shown, statements that the cited texts support.

Source: HGMem, arXiv 2512.23959, sections 3.2 and 3.3. Where there is no answer, or none that holds, the caller goes on by rules, and the report
says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mnemos.base.protocols import ChatModel
from mnemos.text.asking import Answer, Refused, Report, ask, made_by
from mnemos.text.entities import key_of
from mnemos.text.hypergraph.corpus import Passage, SubQuery
from mnemos.text.hypergraph.evidence import Evidence
from mnemos.text.hypergraph.memory import Span, WorkingMemory, apart
from mnemos.text.hypergraph.overlay import Overlay
from mnemos.text.hypergraph.planning import Judgement, Plan, distinct, uncovered
from mnemos.text.prompts import Aliases, prompt
from mnemos.text.quoting import Cited, supported

RECONCILE_ROUNDS = 3


class Changed(NamedTuple):
    """Ids of points that were inserted, and updated."""

    inserted: list[int]
    updated: list[int]


@dataclass
class Advisor:
    """A language model, and what came of asking it."""

    chat: ChatModel
    report: Report = field(default_factory=Report)

    # -- evolving --
    def evolve(self, memory: WorkingMemory, evidence: Evidence, passages: Sequence[Passage], overlay: Overlay | None, turn: int) -> Changed | None:
        """Let the model update points and insert new ones from `passages`, and describe in `overlay`, where one is given, the objects that no text
        names. None where it has no answer."""
        texts, points = Aliases([passage.id for passage in passages], "t"), _aliases(memory)
        by_id = {passage.id: passage for passage in passages}

        def check(answer: Answer) -> str | None:
            return _unknown(texts, (alias for one in (*answer["update"], *answer["insert"]) for alias in one["sources"])) or _unknown(
                points, (one["id"] for one in answer["update"])
            )

        shown = [{"id": texts.alias(passage.id), "text": passage.text} for passage in passages]
        values = {"question": evidence.question, "points": _shown(memory, points, evidence), "evidence": shown}
        answer = ask(self.chat, prompt("evolve_points"), values, check=check, report=self.report)
        if isinstance(answer, Refused):
            return None
        by = _by(self.chat, "evolve_points")
        changed = Changed([], [])
        for one in answer["update"]:
            point = memory.point(int(points.id(one["id"]) or 0))
            if point.id in changed.updated:
                continue
            cited = [by_id[id_] for id_ in texts.ids(one["sources"])[0]]
            before = [evidence.passages[id_] for id_ in sorted(point.passages) if id_ in evidence.passages]
            if self._holds(one["statement"], [*cited, *before]):
                names = self._names(one, evidence)
                memory.update(point.id, one["statement"], names, map(_whole, cited), turn, by)
                changed.updated.append(point.id)
        for one in answer["insert"]:
            cited = [by_id[id_] for id_ in texts.ids(one["sources"])[0]]
            if self._holds(one["statement"], cited):
                changed.inserted.append(memory.insert(one["statement"], self._names(one, evidence), map(_whole, cited), turn, by).id)
        if overlay is not None:
            self._reconcile(memory, evidence, overlay, [*changed.updated, *changed.inserted])
        return changed

    def _holds(self, statement: str, passages: Sequence[Passage]) -> bool:
        holds = bool(passages) and bool(supported(statement, [Cited(one.text, one.author, said_at=one.said_at) for one in passages]))
        if not holds:
            self.report.reject()
        return holds

    @staticmethod
    def _names(one: Mapping[str, Any], evidence: Evidence) -> list[str]:
        """The keys of a point's objects; as they are written they are kept for showing."""
        out = []
        for name in one["objects"]:
            key = key_of(name) or name.casefold().strip()
            evidence.shown.setdefault(key, name)
            out.append(key)
        return out

    # -- reconciling --
    def _reconcile(self, memory: WorkingMemory, evidence: Evidence, overlay: Overlay, ids: Sequence[int]) -> None:
        """Have objects that no text names described, in up to three rounds; those that nobody can describe are noted as such."""
        known = {name for one in evidence.sentences.values() for name in one.names}
        points = [memory.point(id_) for id_ in dict.fromkeys(ids)]
        absent = [name for point in points for name in sorted(point.names - known) if name not in overlay.objects]
        absent = list(dict.fromkeys(absent))
        for _ in range(RECONCILE_ROUNDS):
            if not absent:
                return
            passages = [evidence.passages[id_] for point in points for id_ in sorted(point.passages) if id_ in evidence.passages]
            shown = [{"text": passage.text} for passage in dict.fromkeys(passages)]
            values = {"objects": [evidence.name(name) for name in absent], "statements": [point.statement for point in points], "evidence": shown}
            answer = ask(self.chat, prompt("describe_objects"), values, report=self.report)
            if isinstance(answer, Refused):
                break
            cited = [Cited(passage.text, passage.author, said_at=passage.said_at) for passage in dict.fromkeys(passages)]
            for one in answer["described"]:
                key = key_of(one["object"])
                if key in absent and supported(one["description"], cited):
                    overlay.describe(key, one["kind"], one["description"])
            for one in answer["related"]:
                ends = key_of(one["one"]), key_of(one["other"])
                if set(ends) & set(absent) and set(ends) <= known | set(absent) and supported(one["description"], cited):
                    overlay.relate(*ends, one["description"])
            absent = [name for name in absent if name not in overlay.objects]
        for name in absent:
            overlay.describe(name)

    # -- merging --
    def merge(self, memory: WorkingMemory, evidence: Evidence, turn: int) -> list[int] | None:
        """Let the model join points. Gives the ids of those that came of it; None where it has no answer."""
        points = _aliases(memory)

        def check(answer: Answer) -> str | None:
            return _unknown(points, (alias for one in answer["merge"] for alias in one["ids"]))

        values = {"question": evidence.question, "points": _shown(memory, points, evidence)}
        answer = ask(self.chat, prompt("merge_points"), values, check=check, report=self.report)
        if isinstance(answer, Refused):
            return None
        groups = [tuple(int(id_) for id_ in points.ids(one["ids"])[0]) for one in answer["merge"]]
        statement = {group: one["statement"] for group, one in zip(groups, answer["merge"], strict=True)}
        made = []
        for group in apart(groups, [point.id for point in memory]):
            parts = [memory.point(id_) for id_ in group]
            passages = [evidence.passages[id_] for id_ in sorted({id_ for part in parts for id_ in part.passages}) if id_ in evidence.passages]
            told = statement.get(group)
            if told is not None and self._holds(told, passages):
                made.append(memory.merge(group, told, turn, _by(self.chat, "merge_points")).id)
            else:  # what the model says of a group that is not whole, or more than its texts, is not said
                made.append(memory.merge(group, " ".join(dict.fromkeys(part.statement for part in parts)), turn).id)
        return made

    # -- planning --
    def plan(
        self, memory: WorkingMemory, evidence: Evidence, hints: Sequence[str], asked: Sequence[str], overlay: Overlay, most: int
    ) -> Plan | Refused:
        """What the model judges, and wants to look for. Concerns about points that are not there are global."""
        points = _aliases(memory)
        values = {
            "question": evidence.question, "points": _shown(memory, points, evidence), "hints": list(hints), "asked": list(asked), "most": most,
        }  # fmt: skip
        answer = ask(self.chat, prompt("plan_points"), values, report=self.report)
        if isinstance(answer, Refused):
            return answer
        judgement = Judgement(answer["judgement"])
        if judgement is Judgement.SUFFICIENT:
            return Plan(judgement)
        queries = []
        for one in answer["concerns"]:
            id_ = points.id(one["id"])
            if judgement is Judgement.LOCAL and id_ is not None:
                point = memory.point(int(id_))
                queries.append(SubQuery(one["concern"], near=overlay.around(point.names), point=point.id))
            else:
                queries.append(SubQuery(one["concern"], away=memory.names))
        if not queries:
            queries = [uncovered(memory, evidence)]
        chosen = distinct(queries, asked)[:most]
        if judgement is Judgement.LOCAL and not any(query.near for query in chosen):
            judgement = Judgement.GLOBAL
        return Plan(judgement, chosen)


def _aliases(memory: WorkingMemory) -> Aliases:
    return Aliases([str(point.id) for point in memory], "p")


def _shown(memory: WorkingMemory, points: Aliases, evidence: Evidence) -> list[dict[str, Any]]:
    return [
        {"id": points.alias(str(point.id)), "objects": [evidence.name(name) for name in sorted(point.names)], "statement": point.statement}
        for point in memory
    ]


def _unknown(known: Aliases, given: Iterable[object]) -> str | None:
    _, unknown = known.ids(given)
    return f"there are no ids {', '.join(unknown[:5])}" if unknown else None


def _whole(passage: Passage) -> Span:
    return Span(passage.id, 0, len(passage.text))


def _by(chat: ChatModel, name: str) -> str:
    made = made_by(chat, prompt(name))
    return f"{made['model']} {made['prompt']}"
