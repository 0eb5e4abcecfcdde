"""The policy of rules: what to keep is said by the form of a statement, and by how it stands to what is held."""

from __future__ import annotations

from mnemos.text.constructor.acting import Action, decide_each
from mnemos.text.constructor.candidates import Candidate, Sort
from mnemos.text.constructor.matching import Comparer, Match, Standing
from mnemos.text.constructor.memory import Memory
from mnemos.text.constructor.operations import Operation
from mnemos.text.constructor.policy import Chunk, View


class RulesPolicy:
    """Facts of somebody's own attributes go into the core while there is room, other facts and rules among the facts, what is dated among the events;
    what replaces something updates it; questions, chatter and what is held already are left. Where there is no room, the oldest goes."""

    name = "rules"
    by = "rules"

    def __init__(self, compared: Comparer | None = None) -> None:
        self.compared = compared

    def decide(self, view: View, chunk: Chunk) -> list[Operation]:
        return decide_each(view.memory, chunk.candidates, _action, self.compared)


def _action(memory: Memory, candidate: Candidate, found: Match) -> Action:
    if candidate.sort in (Sort.QUESTION, Sort.CHATTER) or found.standing is Standing.HELD or found.same_value:
        return Action.SKIP
    if found.line >= 0:
        return Action.CORE
    if found.standing in (Standing.REPLACES, Standing.CONTRADICTS):
        return Action.UPDATE
    if candidate.assistant and not (candidate.numbered or candidate.named):
        return Action.SKIP
    event = candidate.sort is Sort.EVENT and candidate.at is not None
    if candidate.own and candidate.gist.key and not event and candidate.tokens <= memory.core_room // 2 and not candidate.assistant:
        return Action.CORE
    return Action.SWAP_EVENT if event else Action.SWAP_FACT
