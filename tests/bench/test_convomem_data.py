"""ConvoMem's generator: labels that hold, histories that are what they say, the same bytes from the same seed, and files that are read back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import orjson
import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.bench.convomem import words
from mnemos.bench.convomem.cases import batched_cases, items_of, standard_case, standard_cases
from mnemos.bench.convomem.grammar import Statement, ask, asked, sentences, understand
from mnemos.bench.convomem.judges import names_all, right
from mnemos.bench.convomem.personas import PERSONAS, Persona, Settings
from mnemos.bench.convomem.reader import ExactReader
from mnemos.bench.convomem.schema import (
    CATEGORIES,
    SIZES,
    Conversation,
    EvidenceItem,
    Message,
    TestCase,
    case_json,
    read_cases,
    read_items,
    write_cases,
    write_items,
)
from mnemos.bench.convomem.validation import given_away, locate, validate

SHORT = Settings(0, 16, 24, fillers=60)
PARAPHRASED = Settings(0, 16, 24, fillers=60, otherwise=True)


@pytest.fixture(scope="module")
def persona() -> Persona:
    return Persona(3, SHORT)


# -- labels --
@pytest.mark.parametrize("settings", [SHORT, PARAPHRASED], ids=["plain", "paraphrased"])
def test_the_exact_reader_needs_all_the_evidence_and_nothing_else(settings: Settings) -> None:
    reader, seen = ExactReader(), Counter[str]()
    for number in (0, 17, 101, PERSONAS - 1):
        for item in items_of(Persona(number, settings)):
            found = validate(item, reader)
            assert found.valid, (item.question, item.answer, found)
            seen[item.category] += 1
    assert set(seen) == set(CATEGORIES)


def test_validation_finds_labels_that_do_not_hold(persona: Persona) -> None:
    """What the checks are for: a wrong answer, evidence that is not needed, a message that stands twice or nowhere."""
    reader, item = ExactReader(), persona.item("user_facts", 3, 2)

    def changed(**fields: object) -> EvidenceItem:
        return EvidenceItem(**{**item.__dict__, **fields})  # type: ignore[arg-type]

    assert not validate(changed(answer="something else"), reader).with_evidence
    doubled = changed(conversations=(*item.conversations, item.conversations[0]))
    assert (validate(doubled, reader).after_removal, validate(doubled, reader).verbatim) == (2, False)
    assert not validate(changed(message_evidences=(Message("user", "never said"),)), reader).verbatim


def test_what_is_asked_in_vain_is_given_away_nowhere(persona: Persona) -> None:
    for number, count in enumerate(range(1, 7)):
        item = persona.item("abstention", count, number)
        assert given_away(item, standard_case(item, persona, 50)) == []
        key = asked(item.question).keys[0]  # type: ignore[union-attr]
        for otherwise in (False, True):
            for told in sentences(Statement("fact", key, "x"), otherwise):
                leak = Conversation((Message("user", told),))
                assert given_away(item, TestCase((item,), (leak,), 1)) == [told]


def test_the_last_value_is_the_answer_of_a_changing_fact(persona: Persona) -> None:
    reader, shapes = ExactReader(), set()
    for number in range(20):
        item = persona.item("changing_facts", 3, number)
        shapes.add(asked(item.question).shape)  # type: ignore[union-attr]
        turned = tuple(reversed(item.conversations))
        told = reader.answer(item.question, reader.extract(item.question, list(enumerate(turned)), 0), 0)
        assert not right(item, told.text)
    assert shapes == {"history", "running"}


def test_what_is_said_is_understood_and_what_others_do_is_not() -> None:
    kinds = [Statement("fact", ("price", "hall", "lamp"), "61 dollars"), Statement("purchase", ("jazz", "fair"), "a tent"),
             Statement("payment", ("jazz", "fair"), "30 olives"), Statement("advice", ("jazz", "fair"), "maps"),
             Statement("budget", ("jazz", "fair"), "900"), Statement("raise", ("jazz", "fair"), "50"), Statement("cut", ("jazz", "fair"), "50"),
             Statement("change", ("colour", "hall", "lamp"), "teal"), Statement("taste", ("gym",), "quiet"),
             Statement("event", ("flew the drone", "Mei"), "3 May 2023"),
             *(Statement("constraint", (question,), demand) for question, group in words.OCCASIONS.items() for *_, demand in group)]  # fmt: skip
    for statement in kinds:
        for otherwise in (False, True):
            for said in sentences(statement, otherwise):
                assert understand(f"{said} {words.TALK[0]}") == (statement,), said
                assert understand(f'My sister told me: "{said}" {words.TALK[0]}') == ()
    assert all(understand(talk) == () for talk in (*words.TALK, *words.REPLIES))


def test_paraphrases_share_no_telling_word_with_the_question() -> None:
    statement = Statement("fact", ("colour", "hall", "lamp"), "teal")
    said = sentences(statement, otherwise=True)[0]
    assert "hall" in said
    assert not {"colour", "lamp"} & set(said.split())
    assert "hall lamp" in ask("parts", [statement.key])


def test_no_word_of_the_vocabulary_stands_for_two_things() -> None:
    for table in (words.NOUNS, words.KINDS, words.DOMAINS):
        assert len({*table.values()}) == len(table)
        assert not set(table) & set(table.values())
    for pool in (words.ITEMS, words.NAMES, *words.ATTRIBUTES.values(), [demand for group in words.OCCASIONS.values() for *_, demand in group]):
        for value in pool:
            assert [other for other in pool if names_all(value, other)] == [value]


# -- histories --
def test_the_same_seed_gives_the_same_bytes(persona: Persona) -> None:
    again = Persona(3, SHORT)
    for category in CATEGORIES:
        one, other = (whose.item(category, 2, 1) for whose in (persona, again))
        assert orjson.dumps(case_json(standard_case(one, persona, 20))) == orjson.dumps(case_json(standard_case(other, again, 20)))
    assert orjson.dumps(case_json(standard_case(one, persona, 20))) != orjson.dumps(
        case_json(standard_case(Persona(3, Settings(1, 16, 24, fillers=60)).item("temporal", 2, 1), Persona(3, Settings(1, 16, 24, fillers=60)), 20))
    )


def test_histories_hold_what_they_say(persona: Persona) -> None:
    for item in items_of(persona):
        for size in (6, 20, 60):
            case = standard_case(item, persona, size)
            assert len(case.conversations) == case.context_size == size
            assert len({conversation.id for conversation in case.conversations}) == size
            places = [case.conversations.index(conversation) for conversation in item.conversations]
            assert places == sorted(places)  # the order of time is kept
            assert all((conversation.id or "").startswith(persona.id) for conversation in case.conversations)
            assert all(len(locate(message.text, case.conversations)) == 1 for message in item.message_evidences)
            assert sum(bool(conversation.contains_evidence) for conversation in case.conversations) == item.evidence_count


def test_shared_histories_answer_as_histories_of_their_own(persona: Persona) -> None:
    reader, items = ExactReader(), items_of(persona)
    cases = list(batched_cases(items, persona, 60))
    assert [item for case in cases for item in case.evidence_items] == items
    assert len(cases) >= 4
    for case in cases:
        assert sum(bool(conversation.contains_evidence) for conversation in case.conversations) <= 30
        for item in case.evidence_items:
            verdicts = [right(item, reader.answer(item.question, reader.extract(item.question, list(enumerate(history)), 0), 0).text)
                        for history in (case.conversations, standard_case(item, persona, 60).conversations)]  # fmt: skip
            assert verdicts == [True, True]


def test_cases_come_in_every_size_that_holds_their_evidence() -> None:
    seen = Counter((case.evidence_items[0].evidence_count, case.context_size) for case in standard_cases(SHORT, (1, 4, 10), [5]))
    assert {size for count, size in seen if count == 1} == {1, 4, 10}
    assert {size for count, size in seen if count == 5} == {10}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda persona: persona.item("gossip", 1, 0),
        lambda persona: persona.item("changing_facts", 1, 0),
        lambda persona: persona.item("user_facts", 7, 0),
        lambda persona: persona.item("preferences", 1, 8),
        lambda persona: standard_case(persona.item("temporal", 3, 0), persona, 2),
        lambda persona: standard_case(persona.item("temporal", 3, 0), persona, 300),
        lambda persona: standard_case(Persona(4, SHORT).item("temporal", 3, 0), persona, 10),
        lambda persona: list(batched_cases(items_of(persona), persona, 10)),
        lambda _: Persona(PERSONAS, SHORT),
        lambda _: Settings(shortest=3),
        lambda _: Settings(shortest=30, longest=20),
    ],
)
def test_what_cannot_be_made_is_refused(persona: Persona, wrong: object) -> None:
    with pytest.raises(Invalid, match="ConvoMem"):
        wrong(persona)  # type: ignore[operator]


# -- files --
def test_items_and_cases_are_read_back(persona: Persona, tmp_path: Path) -> None:
    items = [persona.item(category, 2, 0) for category in CATEGORIES]
    assert write_items(tmp_path / "items.jsonl", items) == len(items)
    for item, read in zip(items, read_items(tmp_path / "items.jsonl"), strict=True):
        assert (read.question, read.answer, read.category, read.person_id) == (item.question, item.answer, item.category, item.person_id)
        assert read.message_evidences == item.message_evidences
        assert [one.messages for one in read.conversations] == [one.messages for one in item.conversations]
    cases = [standard_case(item, persona, 4) for item in items]
    write_cases(tmp_path / "cases.jsonl", cases)
    assert [case_json(case) for case in read_cases(tmp_path / "cases.jsonl")] == [case_json(case) for case in cases]


def test_the_public_files_are_read(tmp_path: Path) -> None:
    """The published form: one object, the items under a key, speakers capitalised, fields that are absent."""
    item = {"question": "q", "answer": "a", "message_evidences": [{"speaker": "User", "text": "t"}],
            "conversations": [{"messages": [{"speaker": "User", "text": "t"}], "containsEvidence": True}], "category": "user_evidence"}  # fmt: skip
    (tmp_path / "public.json").write_bytes(orjson.dumps({"evidence_items": [item, item]}, option=orjson.OPT_INDENT_2))
    read = list(read_items(tmp_path / "public.json"))
    assert len(read) == 2
    assert read[0].message_evidences == (Message("user", "t"),)
    assert read[0].person_id is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"question": "q"}', "message_evidences"),
        ('{"question": "q", "answer": 3, "message_evidences": [], "conversations": []}', "'answer'"),
        ('{"question": "q", "answer": "a", "message_evidences": [{"speaker": "u"}], "conversations": []}', "evidence 0"),
        ('{"question": "q", "answer": "a", "message_evidences": [], "conversations": [{"messages": [], "containsEvidence": 1}]}', "containsEvidence"),
        ('{"question": \n{"oops"', "line 1"),
        ("[1, 2]", "object 1"),
    ],
)
def test_files_that_are_no_such_data_are_refused_with_their_place(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(Invalid, match=r"x\.jsonl") as error:
        list(read_items(tmp_path / "x.jsonl"))
    assert says in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        list(read_cases(tmp_path / "nowhere.jsonl"))


def test_sizes_are_those_of_the_paper() -> None:
    assert SIZES == (1, 2, 3, 4, 5, 6, 10, 20, 30, 50, 70, 100, 150, 200, 300)
