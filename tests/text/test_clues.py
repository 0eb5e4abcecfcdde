"""Clues (MemoRAG): the associations of names, the global memory's laws, hygiene, the strategy, and a model's clues."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import mnemos
from mnemos.base.errors import Corrupt, Invalid, NotFound
from mnemos.bench.clues_world import EXPLICIT, IMPLICIT, world
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.text.asking import Reason, Report
from mnemos.text.clues.associations import Asked, Associations, Reached, rarity, read
from mnemos.text.clues.by_model import clues as clues_of_model
from mnemos.text.clues.evidence import CONSTANT, Hit, fused, gather
from mnemos.text.clues.gists import Sections, cut
from mnemos.text.clues.key_points import key_points, summarised
from mnemos.text.clues.memory import MOST, Clue, GlobalMemory, cleaned
from mnemos.text.clues.statistical import StatisticalMemory

VALLEY = {
    "mill": "Halden Mill\nThe owner of Halden Mill is Ruth Varga. It grinds rye.",
    "family": "Ruth Varga has a sister, Ilona Petri, who rarely visits.",
    "moths": "Ilona Petri collects moths in Graz.",
    "stamps": "Tom Hill collects stamps in Graz.",
    "ship": "The owner of the ship Aurora is Sven Holm.",
    "coins": "Ann Bell collects coins with her sister Ada Bell.",
}
ASKED = "What does the sister of the owner of Halden Mill collect?"


def memory(texts: dict[str, str]) -> StatisticalMemory:
    out = StatisticalMemory()
    for name, text in texts.items():
        out.memorise(name, text)
    return out


# ---- names that stand together --------------------------------------------------------------------------------------


def reached(question: str, texts: Sequence[str], seen: Sequence[bool] | None = None) -> list[Reached]:
    held = Associations()
    held.add((number, read(text)) for number, text in enumerate(texts))
    asked = Asked.of(question)
    mask = np.ones(len(texts), dtype=bool) if seen is None else np.array(seen)
    return held.look(mask).reach(asked, rarity(held.counts(asked.terms), held.units))


def test_names_two_steps_away_are_reached_by_way_of_those_between() -> None:
    found = {one.name: one for one in reached(ASKED, list(VALLEY.values()))}
    assert found["ruth varga"].via == ("halden mill", "ruth varga")
    assert found["ilona petri"].via == ("halden mill", "ruth varga", "ilona petri")
    assert found["ruth varga"].value > found["ilona petri"].value
    assert not {"tom hill", "sven holm", "ann bell", "halden mill"} & set(found)


def test_the_sentence_that_says_what_is_asked_leads_farther() -> None:
    texts = ["Halden Mill burnt down before Bo Strand.", "The owner of Halden Mill is Ruth Varga."]
    found = reached("Who is the owner of Halden Mill?", texts)
    assert [one.name for one in found] == ["ruth varga", "bo strand"]


def test_what_may_not_be_seen_has_no_bearing() -> None:
    texts = list(VALLEY.values())
    hidden = [True, False, True, True, True, True]
    without = [text for text, shown in zip(texts, hidden, strict=True) if shown]
    assert "ilona petri" not in {one.name for one in reached(ASKED, texts, hidden)}
    got, wanted = reached(ASKED, texts, hidden), reached(ASKED, without)
    assert [(one.name, one.via) for one in got] == [(one.name, one.via) for one in wanted]


def test_short_names_lead_where_full_ones_do() -> None:
    found = reached("Where does the sister of Varga live?", list(VALLEY.values()))
    assert "ilona petri" in {one.name for one in found}


def test_a_name_in_too_many_sentences_is_no_way() -> None:
    texts = ["Halden Mill stands in Graz.", *(f"Person Number{chr(97 + n % 26)}{chr(97 + n // 26)} lives in Graz." for n in range(80))]
    assert {one.name for one in reached("Who is near Halden Mill?", texts)} == {"graz"}


# ---- the memory's laws ----------------------------------------------------------------------------------------------


def test_it_is_a_global_memory() -> None:
    held: GlobalMemory = memory(VALLEY)
    assert held.kind == "statistical"
    first = held.clues(ASKED)
    assert any(clue.text.startswith("ilona petri") for clue in first)
    assert len(held.clues(ASKED, 2)) == 2
    assert all(clue.text for clue in first)
    assert len(first) <= MOST


def test_a_clue_asks_for_what_is_left_of_the_question() -> None:
    (ilona,) = [clue for clue in memory(VALLEY).clues(ASKED) if clue.text.startswith("ilona petri")]
    assert ilona.text == "ilona petri collect"
    assert ilona.via == ("halden mill", "ruth varga", "ilona petri")


def long_text(rng: random.Random, lines: int) -> list[str]:
    names = [f"{first} {last}" for first in ("Agnes", "Boris", "Clara", "Hugo") for last in ("Holm", "Varga", "Lund", "Strand", "Petri")]
    verbs = ("met", "owns a boat with", "is the cousin of", "never wrote to", "taught")
    return [f"{rng.choice(names)} {rng.choice(verbs)} {rng.choice(names)} in {rng.randint(1800, 1999)}. It rained a lot." for _ in range(lines)]


@pytest.mark.parametrize("seed", range(8))
def test_memorising_in_pieces_is_memorising_at_once(seed: int) -> None:
    rng = random.Random(seed)
    lines = long_text(rng, 180)
    at_once, in_pieces = StatisticalMemory(), StatisticalMemory()
    at_once.memorise("d", "\n".join(lines))
    start = 0
    while start < len(lines):
        end = start + rng.randint(1, 50)
        in_pieces.memorise("d", "\n".join(lines[start:end]) + "\n")
        start = end
    assert in_pieces == at_once
    assert in_pieces.clues("Who is the cousin of Agnes Holm?") == at_once.clues("Who is the cousin of Agnes Holm?")


@pytest.mark.parametrize("seed", range(8))
def test_what_is_forgotten_was_never_there(seed: int) -> None:
    rng = random.Random(seed)
    texts = {f"d{n}": "\n".join(long_text(rng, rng.randint(1, 60))) for n in range(9)}
    gone = set(rng.sample(sorted(texts), 4))
    held, never = memory(texts), memory({name: text for name, text in texts.items() if name not in gone})
    for name in gone:
        held.forget(name)
    assert held == never
    assert held != memory(texts)
    for question in ("Who is the cousin of Agnes Holm?", "Whom did Hugo Strand teach in the rain?"):
        assert held.clues(question) == never.clues(question)
    with pytest.raises(NotFound, match="d9"):
        held.forget("d9")


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    held = memory({**VALLEY, "long": "\n".join(long_text(random.Random(1), 150))})
    held.save(tmp_path / "m")
    loaded = StatisticalMemory.load(tmp_path / "m")
    assert loaded == held
    assert loaded.clues(ASKED) == held.clues(ASKED)
    loaded.memorise("long", "Agnes Holm sailed.")
    held.memorise("long", "Agnes Holm sailed.")
    assert loaded == held
    loaded.save(tmp_path / "n")
    held.save(tmp_path / "m")
    assert (tmp_path / "m").read_bytes() == (tmp_path / "n").read_bytes()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    memory(VALLEY).save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:-40], whole[: whole.index(b"\n") + 1], b"{}\n", whole.replace(b'"units"', b'"unitz"', 1), b"[1]\n", whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(Corrupt, match="memorise the corpus anew"):
            StatisticalMemory.load(path)
    with pytest.raises(NotFound):
        StatisticalMemory.load(tmp_path / "none")


@pytest.mark.parametrize("text", ["", "\n\n", "。", "a", "木木木。林林林", "\ud7ff 🙂", "x" * 5000, "Who?\r\nMe!"])
def test_any_text_can_be_memorised_and_asked(text: str) -> None:
    held = memory({"d": text, "e": "Ann Bell met Tom Hill."})
    for question in (text, "Ann Bell?", ""):
        assert isinstance(held.clues(question), list)


def test_wrong_values_are_named() -> None:
    with pytest.raises(Invalid, match="most"):
        memory(VALLEY).clues("x", 0)
    with pytest.raises(Invalid, match="name"):
        StatisticalMemory().memorise("", "text")


# ---- hygiene and fusion ---------------------------------------------------------------------------------------------


def test_copies_are_no_clues_and_there_are_at_most_eight() -> None:
    copies = [Clue("the owner of Halden Mill", "recall"), Clue("What does the SISTER collect?", "rewrite"), Clue("", "recall")]
    assert cleaned(ASKED, copies) == []
    many = [Clue(f"moth number{chr(97 + n)}", "recall") for n in range(20)]
    assert cleaned(ASKED, many) == many[:8]
    assert cleaned(ASKED, [many[0], many[0], Clue("moth", "recall"), many[1]]) == [many[0], many[1]]
    assert cleaned("谁的妹妹收集什么?", [Clue("飞蛾", "recall")]), "clues in scripts without blanks count, however short"


def search_of(table: dict[str, list[tuple[str, float]]], asked: list[str] | None = None) -> object:
    def search(text: str, k: int) -> list[Hit[str]]:
        if asked is not None:
            asked.append(text)
        return [Hit(item, f"text of {item}", score) for item, score in table.get(text, [])[:k]]

    return search


def test_ranks_are_fused_and_each_find_says_which_clue_found_it() -> None:
    moth, graz = Clue("ilona moths", "recall"), Clue("graz", "rewrite", 0.5)
    search = search_of({"q": [("a", 1.0), ("b", 0.5)], moth.text: [("c", 2.0), ("b", 1.5)], graz.text: [("c", 1.2)]})
    found = gather("q", [moth, graz], search, k=3)  # type: ignore[arg-type]
    assert not found.alone
    assert {one.item: one.clues for one in found.evidence} == {"b": (moth,), "c": (moth, graz), "a": ()}
    score = {one.item: one.score for one in found.evidence}
    assert score["b"] == pytest.approx(1 / (CONSTANT + 2) + 1 / (CONSTANT + 2))
    assert score["c"] == pytest.approx(2 / (CONSTANT + 1))
    assert [one.item for one in found.evidence] == ["c", "b", "a"]


def test_the_question_stands_alone_where_all_clues_match_worse() -> None:
    clue = Clue("ilona moths", "recall")
    search = search_of({"q": [("a", 1.0)], clue.text: [("c", 0.9)]})
    found = gather("q", [clue], search)  # type: ignore[arg-type]
    assert found.alone
    assert [one.item for one in found.evidence] == ["a"]
    assert gather("q", [], search).alone  # type: ignore[arg-type]


def test_evidence_keeps_its_budget_and_clues_are_none_of_it() -> None:
    clue = Clue("ilona moths", "recall")
    search = search_of({"q": [(f"p{n}", 1.0) for n in range(9)], clue.text: [("c", 2.0)]})
    found = gather("q", [clue], search, tokens=12, count=lambda text: 5)  # type: ignore[arg-type]
    assert len(found.evidence) == 2
    assert found.tokens == 10
    assert all(one.text.startswith("text of ") for one in found.evidence)
    with pytest.raises(Invalid, match="tokens"):
        gather("q", [], search, tokens=0)  # type: ignore[arg-type]


def test_each_clue_is_searched_for_once() -> None:
    asked: list[str] = []
    clues = [Clue(f"moth {chr(97 + n) * 3}", "recall") for n in range(12)]
    gather("q", [Clue("q", "rewrite"), *clues, *clues], search_of({}, asked))  # type: ignore[arg-type]
    assert asked == ["q", *(clue.text for clue in clues[:8])]


def test_without_clues_the_order_is_the_questions() -> None:
    assert list(fused(["a", "b", "c"], [])) == ["a", "b", "c"]


# ---- sections -------------------------------------------------------------------------------------------------------


def test_sections_do_not_move_when_more_follows() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 300, 200).astype(np.float32)
    whole = cut(lengths, Sections(words=500))
    assert [at for part in whole for at in range(part.start, part.stop)] == list(range(200))
    for end in (1, 50, 199):
        assert cut(lengths[:end], Sections(words=500))[:-1] == whole[: len(cut(lengths[:end], Sections(words=500))) - 1]
    assert cut([]) == []


# ---- the strategy ---------------------------------------------------------------------------------------------------


@pytest.fixture
def valley() -> Iterator[Space]:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("valley", strategy="clues")
        made_up = world(np.random.default_rng(5), circles=12).corpus
        space.add_many(made_up.records)
        space.add_many([{"text": text, "type": "document", "source": name} for name, text in VALLEY.items()])
        yield space


def test_an_implicit_question_finds_its_evidence_and_says_by_which_clue(valley: Space) -> None:
    hits = valley.search(ASKED, k=9)
    (moths,) = [hit for hit in hits if hit.cube.source == "moths"]
    assert moths.signals["clue entity: ilona petri collect"] > 0
    assert all(hit.cube.source != "moths" for hit in valley.search(ASKED, k=9, strategy="plain"))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_question_that_its_best_hit_says_whole_is_left_alone(valley: Space) -> None:
    question = "Tom Hill collects stamps in Graz"
    got, plain = valley.search(question, k=9), valley.search(question, k=9, strategy="plain")
    assert [(hit.cube.id, hit.score) for hit in got] == [(hit.cube.id, hit.score) for hit in plain]
    assert not any(name.startswith("clue") for hit in got for name in hit.signals)


def test_a_link_that_is_forgotten_leads_nowhere(valley: Space) -> None:
    (family,) = [cube for cube in valley.list(limit=1000) if cube.source == "family"]
    assert valley.search(ASKED, k=9)
    valley.forget([family.id])
    hits = valley.search(ASKED, k=20)
    assert not any("ilona petri" in name for hit in hits for name in hit.signals)


def test_implicit_questions_gain_and_explicit_ones_lose_nothing() -> None:
    """The sheet's check 4 in small, by n-gram vectors; `mnemos bench clues` measures it whole."""
    corpus = world(np.random.default_rng(2), circles=25).corpus
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = mem.space("w", strategy="clues")
        space.add_many(corpus.records)

        def recall(strategy: str, kinds: Sequence[str]) -> float:
            asked = [question for question in corpus.questions if question.category in kinds]
            held = [{hit.cube.source for hit in space.search(question.text, k=9, strategy=strategy)} for question in asked]
            return float(np.mean([question.evidence <= got for question, got in zip(asked, held, strict=True)]))

        assert recall("clues", IMPLICIT) >= recall("plain", IMPLICIT) + 0.10
        assert recall("clues", [EXPLICIT]) >= recall("plain", [EXPLICIT]) - 0.01


def talk(mem: Mnemos, turns: int, session: object = 1) -> Space:
    space = mem.space("talk", strategy="clues")
    rng = random.Random(4)
    texts = [f"{line} The ferry number {n} was late again, and the harbour smelt of tar." for n, line in enumerate(long_text(rng, turns))]
    space.add_many([{"text": text, "type": "turn", "author": "Ann", "metadata": {"session": session}} for text in texts])
    return space


def test_sections_get_gists_that_are_revised_only_where_something_is_new() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = talk(mem, 150)
        done = space.consolidate()
        gists = space.list(types=["gist"], limit=100)
        assert done.added == len(gists) >= 3
        turns = {cube.id: cube for cube in space.list(types=["turn"], limit=1000)}
        for gist in gists:
            for line, source in zip(gist.text.split("\n"), gist.metadata["from"], strict=True):
                assert line in " ".join(next(cube.text for cube in turns.values() if str(cube.id) == source).split())
        space.add("Agnes Holm came home by the last ferry.", type="turn", author="Ann", metadata={"session": 1})
        again = space.consolidate()
        assert (again.added, again.revised, again.retired) in ((0, 1, 0), (0, 0, 0))
        hits = space.search("Which ferry was late when Agnes met Boris, the cousin of Hugo, and who taught Clara?", k=5)
        assert any(name.startswith("clue gist") for hit in hits for name in hit.signals)


def test_a_conversation_that_loses_most_of_itself_has_no_gist() -> None:
    with mnemos.open(":memory:", embedder="hashed") as mem:
        space = talk(mem, 20)
        assert space.consolidate().added == 1
        space.forget([cube.id for cube in space.list(types=["turn"], limit=1000)[3:]])
        assert space.list(types=["gist"]) == []
        space.consolidate()
        assert space.list(types=["gist"]) == []


# ---- with a language model ------------------------------------------------------------------------------------------


class Scripted:
    """A chat model that says what it is told to, one after the other."""

    fingerprint = "scripted"

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.shown: list[str] = []

    def complete(self, conversations: Sequence[object], *, schema: object = None, max_tokens: int | None = None) -> list[str]:
        self.shown += [str(conversation) for conversation in conversations]
        return [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0] for _ in conversations]


TOLD = json.dumps({"clues": ["Ilona Petri collects moths", ASKED], "questions": ["Who owns Halden Mill?", "What does Ilona Petri collect?"]})


def test_a_model_recalls_rewrites_and_drafts() -> None:
    chat = Scripted(TOLD, json.dumps({"answer": "Ilona Petri collects barometers."}))
    got = clues_of_model(chat, ASKED, ["Ruth Varga owns the mill."], draft=True)
    assert [(clue.kind, clue.text) for clue in got] == [
        ("recall", "Ilona Petri collects moths"),
        ("answer", "Ilona Petri collects barometers."),
    ], "copies of the question, and of clues before, are left out"
    assert "Ruth Varga owns the mill." in chat.shown[0]
    texts = {ASKED: [("mill", 1.0)], got[0].text: [("moths", 2.0)], got[1].text: [("barometers", 0.1)]}
    found = gather(ASKED, got, search_of(texts))  # type: ignore[arg-type]
    assert {one.item for one in found.evidence} == {"mill", "moths"}
    assert not any(clue.text in one.text for clue in got for one in found.evidence)


@pytest.mark.parametrize("answer", ["I'm sorry, I can't.", '{"clues": ', "[]", ""])
def test_a_model_that_does_not_answer_gives_no_clues_and_that_is_told(answer: str) -> None:
    report = Report()
    assert clues_of_model(Scripted(answer), ASKED, [], report=report) == []
    assert report.degraded == 1
    assert set(report.refused) <= {Reason.MALFORMED, Reason.REFUSAL}


def test_a_model_is_shown_only_the_gists_that_fit() -> None:
    chat = Scripted(TOLD)
    clues_of_model(chat, ASKED, ["first gist", "second gist", "third gist"], tokens=4, count=lambda text: 1)
    assert "second gist" in chat.shown[0]
    assert "third gist" not in chat.shown[0]


# ---- summaries ------------------------------------------------------------------------------------------------------


def test_key_points_are_searched_for_and_what_they_find_is_summarised() -> None:
    points = key_points(["Ilona Petri collects moths in Graz. Tom Hill collects stamps in Graz.", "Sven Holm owns the ship Aurora."], most=3)
    assert 1 <= len(points) <= 3
    table = {point: [(f"p{at}", 1.0), ("both", 0.5)] for at, point in enumerate(points)}
    made = summarised(points, search_of(table), budget=40)  # type: ignore[arg-type]
    assert made.found["both"] == points
    assert set(made.found) == {"both", *(f"p{at}" for at in range(len(points)))}
    assert made.summary.tokens <= 40
    assert all(sentence.text.startswith("text of") for sentence in made.summary.sentences)
    assert key_points([]) == []
    with pytest.raises(Invalid):
        key_points(["a"], 0)
