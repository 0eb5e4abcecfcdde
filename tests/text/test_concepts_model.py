"""Concepts with a language model: whatever a scripted one says, nothing raises, nothing is corrupted, and what holds is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from mnemos.base.errors import Invalid, ModelUnavailable
from mnemos.base.protocols import Message
from mnemos.text.concepts.blocks import as_json, read_blocks
from mnemos.text.concepts.coding import Coder
from mnemos.text.concepts.concept import Concept, Lesson, Pair, Problem, Solution
from mnemos.text.concepts.domains.grid import as_grid
from mnemos.text.concepts.executing import Ran, SandboxExecutor
from mnemos.text.concepts.memory import ConceptMemory
from mnemos.text.concepts.modelled import Thinker, shown_problem
from mnemos.text.program.sandbox import Limits

FLIP = "def transform(given):\n    return [row[::-1] for row in given]\n"
SAME = "def transform(given):\n    return given\n"
TASK = Problem(
    "t", (Pair(as_grid([[1, 2]]), as_grid([[2, 1]])), Pair(as_grid([[3, 0]]), as_grid([[0, 3]]))), (Pair(as_grid([[5, 6]]), as_grid([[6, 5]])),)
)
CONCEPT = {"name": "mirror", "kind": "routine", "routine_subtype": "grid manipulation", "output_typing": "Grid", "parameters":
           [{"name": "grid", "typing": "Grid := list[list[int]]", "description": None}], "description": "left and right change places",
           "cues": ["rows are reversed"], "implementation": ["reverse each row"]}  # fmt: skip


class Chat:
    """Answers each prompt, known by a word of its instruction, with what is scripted for it: texts in turn, the last one again and again."""

    fingerprint = "scripted"

    def __init__(self, **answers: Any) -> None:
        self.answers = {name: list(said) if isinstance(said, list) else [said] for name, said in answers.items()}
        self.seen: list[tuple[str, str]] = []

    def complete(
        self, conversations: Sequence[Sequence[Message]], *, schema: Mapping[str, Any] | None = None, max_tokens: int | None = None
    ) -> list[str]:
        return [self._one(one, schema or {}) for one in conversations]

    def _one(self, conversation: Sequence[Message], schema: Mapping[str, Any]) -> str:
        fields = "_".join(schema.get("required", ()))
        name = {"pseudocode_summary": "pseudocode", "code": "solve", "thoughts": "thoughts", "lessons": "lessons", "numbers": "choose",
                "observations_summary_speculation": "describe", "cues_implementation": "compress"}.get(fields)  # fmt: skip
        name = name or ("abstract" if "pseudocode" in conversation[1]["content"] else "select")
        self.seen.append((name, conversation[1]["content"]))
        said = self.answers.get(name, ["no idea"])
        told = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(told, Exception):
            raise told
        return told if isinstance(told, str) else orjson.dumps(told).decode()


def full(**more: Any) -> Chat:
    return Chat(**{
        "pseudocode": {"pseudocode": "reverse each row", "summary": "mirrors"}, "abstract": {"concepts": [CONCEPT]},
        "select": {"concepts": ["mirror"]}, "solve": {"code": FLIP}, "thoughts": {"thoughts": ["rows look reversed"]},
        "lessons": {"lessons": [{"situation": "reversed rows", "suggestion": "mirror"}]}, **more,
    })  # fmt: skip


def with_mirror() -> ConceptMemory:
    memory = ConceptMemory()
    memory.merge({**CONCEPT, "used_in": ["a", "b"]})
    memory.merge({"name": "hole", "kind": "structure", "cues": ["enclosed"], "used_in": ["a", "b"]})
    return memory


# ---- the loop ------------------------------------------------------------------------------------------------------------


def test_a_problem_is_solved_learnt_from_and_used() -> None:
    chat, memory = full(), ConceptMemory()
    coder = Coder(Thinker(chat), memory)
    told = coder.solve(TASK)
    assert told.code == FLIP
    assert told.attempts[0].answers[0].tolist() == [[6, 5]]
    learnt = coder.learn([told])
    assert (learnt.solutions, learnt.rejected) == (("t",), ())
    assert memory["mirror"].used_in == ("t",)
    assert memory.types.definition("Grid") == "list[list[int]]"
    assert memory.solutions["t"].concepts == ("mirror",)
    assert memory.lessons == [Lesson("reversed rows", "mirror", "t")]
    again = coder.solve(TASK)
    assert again.selected == ("mirror",)
    assert "reverse each row" in next(content for name, content in reversed(chat.seen) if name == "solve")


def test_a_retry_hears_what_went_wrong_and_selects_anew() -> None:
    chat = full(
        solve=[{"code": SAME}, {"code": "def transform(given):\n    return 1 / 0\n"}, {"code": FLIP}],
        select=[{"concepts": ["hole"]}, {"concepts": ["mirror"]}],
    )
    told = Coder(Thinker(chat), with_mirror()).solve(TASK)
    assert told.code == FLIP
    assert told.selected == ("mirror",)
    assert "(0, 0) is 1, not 2" in told.feedback[0]
    assert "ZeroDivisionError" in told.feedback[1]
    asked = [content for name, content in chat.seen if name == "solve"]
    assert "(0, 0) is 1, not 2" in asked[1]
    assert "Attempt 1: failed" in asked[2]
    assert "ZeroDivisionError" in asked[2]
    assert [one.step for one in told.attempts] == [0, 1, 2]


def test_lessons_are_chosen_by_a_description_and_shown_in_full() -> None:
    memory = ConceptMemory()
    for n in (1, 2):
        memory.add_lesson(Lesson(f"situation {n}", f"suggestion {n}", "s"))
    described = {"observations": ["rows of two"], "summary": "rows are reversed", "speculation": None}
    chat = full(describe=described, choose={"numbers": [2]})
    assert Coder(Thinker(chat), memory, lessons=True).solve(TASK).code == FLIP
    hint = next(content for name, content in chat.seen if name == "solve")
    assert "situation 2" in hint
    assert "suggestion 2" in hint
    assert "suggestion 1" not in hint
    assert "rows are reversed" in next(content for name, content in chat.seen if name == "choose")
    assert "select" not in {name for name, _ in chat.seen}


def test_an_executor_that_drops_results_verifies_nothing() -> None:
    class Silent:
        def run(self, code: str, inputs: Sequence[Any], timeout: float = 1.0) -> list[Ran]:
            return []

    told = Coder(Thinker(full()), ConceptMemory(), Silent(), passes=1).solve(TASK)
    assert told.code is None
    forging = "import sys\nprint(sys.argv[1] + '[]', file=sys.__stdout__, flush=True)\nimport os\nos._exit(0)\n"
    assert [one.error for one in SandboxExecutor().run(forging, [[[1]]])] == ["gave no result for each input"]


def test_what_does_not_hold_for_every_pair_teaches_nothing() -> None:
    memory = ConceptMemory()
    coder = Coder(Thinker(full(solve={"code": SAME})), memory, passes=2)
    told = coder.solve(TASK)
    assert told.code is None
    assert len(told.feedback) == 2
    before = memory.as_json()["concepts"]
    assert coder.learn([told]).solutions == ()
    forged = type(told)(TASK, SAME, (), (), ())
    assert [id for id, _ in coder.learn([forged]).rejected] == ["t"]
    assert (memory.as_json()["concepts"], memory.solutions) == (before, {})


def test_the_model_never_sees_the_answers_to_the_test() -> None:
    chat = full()
    Coder(Thinker(chat), with_mirror()).solve(TASK)
    assert all("[[6,5]]" not in content for _, content in chat.seen)
    assert {"input to be answered": [[5, 6]]} in shown_problem(TASK)


# ---- what a model may say (check 6) -----------------------------------------------------------------------------------------

BAD = [
    "", "no", "I'm sorry, I can't.", "```yaml\nconcepts:\n  - name: [unclosed", '{"concepts": [{"name": "mir', "concepts: {{{{", "- - - -", "```",
    "{}",
    '{"concepts": 7}', '{"concepts": [null, 3, []]}', "concepts:\n\t- x: y: z\n   bad", '{"code": 5}', "null", "[" * 200, "a: &b *b", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("said", BAD)
def test_nothing_that_a_model_says_raises_or_changes_what_is_held(said: str) -> None:
    memory = with_mirror()
    before = memory.as_json()
    chat = Chat(**dict.fromkeys(("pseudocode", "abstract", "select", "solve", "thoughts", "lessons", "choose", "describe", "compress"), said))
    thinker = Thinker(chat)
    coder = Coder(thinker, memory)
    assert coder.solve(TASK).code is None
    assert thinker.pseudocode("code") is None
    assert thinker.abstract(memory, Solution("s", "code")) == ([], [])
    assert thinker.select(memory, TASK) is None
    assert thinker.describe(TASK) is None
    assert thinker.choose_lessons([Lesson("a", "b", "c")], "d") == []
    assert thinker.compress(memory["mirror"]) is None
    assert thinker.lessons(TASK, Solution("s", "code")) == []
    assert memory.as_json() == before
    assert thinker.report.degraded >= 7


def test_a_server_that_is_away_is_no_error() -> None:
    chat = Chat(**{name: ModelUnavailable("away", "timeout") for name in ("select", "solve", "pseudocode")})
    thinker = Thinker(chat)
    assert Coder(thinker, with_mirror()).solve(TASK).code is None
    assert thinker.report.degraded >= 2


def test_unknown_names_and_numbers_out_of_range_are_left_out_and_counted() -> None:
    memory = with_mirror()
    memory.merge({"name": "Mirror of it", "kind": "structure"})
    thinker = Thinker(full(select={"concepts": ["nothing", "mirror", "mirror", "hole"]}, choose={"numbers": [0, -1, 2, 99, 2, 1]}))
    assert thinker.select(memory, TASK) == ["mirror", "hole"]
    assert thinker.select(memory, TASK, among=["hole"]) == ["hole"]
    lessons = [Lesson(f"s{n}", f"t{n}", "x") for n in (1, 2)]
    assert thinker.choose_lessons(lessons, "d") == [lessons[1], lessons[0]]
    assert thinker.report.unsupported == 1 + 3 + 3
    assert Thinker(full(select={"concepts": ["nothing"]})).select(memory, TASK) is None


def test_records_that_are_no_concepts_are_rejected_one_by_one() -> None:
    bad = {**CONCEPT, "name": "thing", "kind": "object"}
    thinker = Thinker(full(abstract={"concepts": [bad, CONCEPT]}))
    concepts, rejected = thinker.abstract(ConceptMemory(), Solution("s", "code", "pseudo"))
    assert [one.name for one in concepts] == ["mirror"]
    assert rejected[0][0] == "thing"
    assert "kind" in rejected[0][1]


def test_an_answer_is_asked_for_once_more_and_yaml_is_read() -> None:
    yaml = "Here it is:\n```yaml\nconcepts:\n- mirror\n- hole\n```"
    chat = full(select=["nonsense", yaml])
    thinker = Thinker(chat)
    assert thinker.select(with_mirror(), TASK) == ["mirror", "hole"]
    assert (thinker.report.repairs, len(chat.seen)) == (1, 2)


def test_compressing_keeps_to_fewer_lines_or_to_nothing() -> None:
    concept = Concept("a", "structure", cues=("x", "x again", "y"), implementation=("i",))
    good = {"cues": ["x", "y"], "implementation": ["i"]}
    assert Thinker(Chat(compress=good)).compress(concept) == (["x", "y"], ["i"])
    for bad in ({"cues": [], "implementation": ["i"]}, {"cues": ["1", "2", "3", "4"], "implementation": ["i"]}):
        assert Thinker(Chat(compress=bad)).compress(concept) is None
    memory = ConceptMemory()
    memory.merge(concept)
    assert memory.compress("a", *good.values()).cues == ("x", "y")


# ---- YAML ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "value"), [
    ("a: 1\nb:\n  - x\n  - y: 2\n    z: true\n", {"a": 1, "b": ["x", {"y": 2, "z": True}]}),
    ("- name: n\n  cues:\n  - 'it''s'\n  - \"a: b\"\n- name: m\n", [{"name": "n", "cues": ["it's", "a: b"]}, {"name": "m"}]),
    ("text: |\n  def f():\n    return 1\nend: >\n  one\n  two\n", {"text": "def f():\n  return 1", "end": "one two"}),
    ("```yaml\nnames: [a, b, 'c']\nmap: {k: 3}\n```", {"names": ["a", "b", "c"], "map": {"k": 3}}),
    ("Sure!\n\nname: long text\n  that goes on\nkind: null # why\n", {"name": "long text that goes on", "kind": None}),
    ("```yml\na: x\nb: \"cut off", {"a": "x"}),
    ("a:\nb: ~\n", {"a": None, "b": None}),
    ("typing: Callable[[Grid], Grid]\n", {"typing": "Callable[[Grid], Grid]"}),
])  # fmt: skip
def test_blocks_are_read(text: str, value: Any) -> None:
    assert read_blocks(text) == value


@pytest.mark.parametrize("text", ["", "just words", "?", "a: 'b\nc: d", "```\n```", "- - -\n", "\t\t"])
def test_what_is_no_block_is_none(text: str) -> None:
    assert read_blocks(text) is None


def test_answers_in_json_stay_as_they_are() -> None:
    assert as_json('{"a": 1}') == '{"a": 1}'
    assert orjson.loads(as_json("a: [1, 2]")) == {"a": [1, 2]}
    assert as_json("nothing") == "nothing"


@pytest.mark.parametrize("noise", ["cut", "lines", "characters"])
def test_reading_never_raises(noise: str) -> None:
    whole = (
        "```yaml\nconcepts:\n- name: a\n  cues: [x, 'y']\n  implementation:\n  - |\n    def f():\n      return {1: 2}\n  - \"b: c\"\n```\nrest: - x\n"
    )
    rng = np.random.default_rng(3)
    for _ in range(400):
        if noise == "cut":
            text = whole[: int(rng.integers(len(whole)))]
        elif noise == "lines":
            text = "\n".join(str(one) for one in rng.permutation(whole.split("\n")))
        else:
            at = int(rng.integers(len(whole)))
            text = whole[:at] + str(rng.choice(list("{}[]:-'\"|>#\n\t &*"))) + whole[at + 1 :]
        found = read_blocks(text)
        assert found is None or isinstance(found, (dict, list))


# ---- running code -----------------------------------------------------------------------------------------------------------


def test_code_runs_apart_and_each_input_has_its_result() -> None:
    code = "print('noise')\ndef transform(g):\n    if g == [[9]]:\n        raise ValueError('nine')\n    return [[c + 1 for c in r] for r in g]\n"
    told = SandboxExecutor().run(code, [[[1]], [[9]], [[3]]])
    assert told == [Ran([[2]]), Ran(None, "ValueError: nine"), Ran([[4]])]


@pytest.mark.parametrize(("code", "says"), [
    ("def transform(g):\n    while True: pass\n", "longer than allowed"),
    ("def transform(g):\n    return open\n", "transform gave"),
    ("def other(g): return g\n", "KeyError"),
    ("def transform(:\n", "SyntaxError"),
    ("import os\ndef transform(g):\n    os._exit(3)\n", "code 3"),
    ("def transform(g):\n    return bytearray(10**12)\n", "MemoryError"),
    ("def transform(g):\n    f = transform\n    return f(g)\n", "RecursionError"),
])  # fmt: skip
def test_what_goes_wrong_in_code_is_told(code: str, says: str) -> None:
    (told,) = SandboxExecutor(Limits(memory_bytes=2**30, shown_characters=100_000)).run(code, [[[1]]], timeout=0.5)
    assert told.error is not None
    assert says in told.error


def test_a_time_limit_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="timeout"):
        SandboxExecutor().run(SAME, [], timeout=0)
