"""`space.answer`: an answer with the memories that it is quoted from, or none, within what the caller may see."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mnemos.base.errors import Invalid
from mnemos.base.protocols import Message
from mnemos.kernel.system import Mnemos
from mnemos.text.asking import Report


class Quoter:
    """A model that quotes the sentence about the lamp wherever it stands, and answers from the first quote."""

    fingerprint = "quoter"

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        out = []
        for conversation in conversations:
            shown = conversation[-1]["content"]
            if "The quotes:" in shown:
                out.append(json.dumps({"known": True, "answer": "blue", "rests_on": ["q1"]}))
            else:
                turns = [json.loads(line) for line in shown.splitlines() if line.startswith('{"')]
                out.append(json.dumps({"quotes": [{"id": turn["id"], "text": turn["text"]} for turn in turns if "lamp" in turn["text"]]}))
        return out


def filled(mem: Mnemos) -> Any:
    space = mem.space("a")
    space.add("I moved to Lisbon in May.", author="user", event_at="2024-05-03")
    space.add("The kitchen lamp is blue.", author="user", event_at="2024-05-04")
    for i in range(30):
        space.add(f"Something else entirely, number {i}.", author="user")
    return space


def test_an_answer_names_the_memory_that_says_it(mem: Mnemos) -> None:
    space = filled(mem)
    found = space.answer("Where did I move in May?")
    assert "Lisbon" in str(found)
    ((id_, quote),) = found.quotes
    assert quote in space.get(id_).text
    assert id_ in {str(hit.cube.id) for hit in found.hits}
    assert json.loads(json.dumps(found.as_json()))["quotes"] == [{"id": id_, "text": quote}]


def test_what_memory_does_not_say_is_not_answered(mem: Mnemos) -> None:
    found = filled(mem).answer("Where did I buy my violin?")
    assert not found
    assert found.text == ""
    assert found.reason != "supported"


def test_a_model_reads_and_its_quotes_are_looked_up(mem: Mnemos) -> None:
    space, report = filled(mem), Report()
    found = space.answer("Which colour has the kitchen lamp?", chat=Quoter(), report=report)
    assert (found.text, found.by) == ("blue", "quoter")
    assert space.get(found.quotes[0][0]).text == "The kitchen lamp is blue."
    assert report.answered == 2


def test_forgotten_and_filtered_memories_answer_nothing(mem: Mnemos) -> None:
    space = filled(mem)
    assert not space.answer("Where did I move in May?", until="2024-01-01")
    space.forget(ids=[space.search("Lisbon", k=1)[0].cube.id])
    assert "Lisbon" not in space.answer("Where did I move in May?").text


def test_a_question_needs_words(mem: Mnemos) -> None:
    with pytest.raises(Invalid):
        filled(mem).answer("  ")


@pytest.mark.parametrize("option", ["chat", "gate", "report"])
def test_options_of_wrong_types_are_named(mem: Mnemos, option: str) -> None:
    wrong: dict[str, Any] = {option: 5}
    with pytest.raises(Invalid, match=f"{option}: expected a"):
        mem.space("s").answer("Where do I work?", **wrong)
