"""What is quoted must stand there, and what is stated must follow from the form of what was said."""

from __future__ import annotations

import datetime
import gzip
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid, NotFound
from mnemos.bench.datasets import data_folder
from mnemos.text.quoting import Cited, Rules, find_quote, supported

MAY_8 = int(datetime.datetime(2023, 5, 8, 12, tzinfo=datetime.UTC).timestamp() * 1e6)


def ada(text: str, to: str | None = None) -> Cited:
    return Cited(text, "Ada", to, MAY_8)


@pytest.mark.parametrize(
    ("claimed", "sources", "expected"),
    [
        ("I love tea", ["No.", "Yes, I love tea!"], (1, "I love tea")),
        ("“I LOVE  tea.”", ["Yes, I love\ntea!"], (0, "I love\ntea")),
        ("cafe – it's", ["the café - it’s shut"], (0, "café - it’s")),
        ("fine", ["ﬁne"], (0, "ﬁne")),
        ("art", ["party art"], (0, "art")),
        ("art", ["party"], None),
        ("I love coffee", ["I love tea"], None),
        ("...", ["..."], None),
        ("", ["x"], None),
        ("cafe", ["a cafe\u0301 here"], (0, "cafe\u0301")),
        ("tea", [], None),
    ],
)
def test_quotes_are_found_word_for_word(claimed: str, sources: list[str], expected: tuple[int, str] | None) -> None:
    found = find_quote(claimed, sources)
    assert (found and (found.source, found.text)) == expected
    if found is not None:
        assert sources[found.source][found.start : found.end] == found.text


@given(st.text(max_size=60), st.integers(0, 60), st.integers(1, 60))
def test_whatever_is_found_stands_there(source: str, start: int, length: int) -> None:
    part = source[start : start + length]
    for claimed in (part, part.upper(), f'"{part}"'):
        found = find_quote(claimed, [source])
        if found is not None:
            assert source[found.start : found.end] == found.text
    words = source.split()
    if words and any(map(str.isalnum, words[0])) and words[0].strip(".,;:!?…()[]\"'“”„‘’«»") == words[0]:
        assert find_quote(words[0], [source]) is not None


SAID = [
    ("Ada likes tea.", [ada("I like tea.")]),
    ("Ada is 34 years old.", ["Ada moved. She is 34."]),
    ("Ada moved to Rome on 7 May 2023.", [ada("I moved to Rome yesterday.")]),
    ("Ada moved to Rome in May 2023.", [ada("I moved to Rome yesterday.")]),
    ("Ada loves tea.", [ada("I don't like coffee, but I love tea.")]),
    ("Ada does not like coffee.", [ada("I don't like coffee, but I love tea.")]),
    ("Ada paid $1,200 for two chairs.", [ada("I bought two chairs and paid 1200 dollars.")]),
    ("The meeting lasts 120 minutes.", ["The meeting lasts 2 hours."]),
    ("Ada and Bob moved to Rome.", [ada("I moved to Rome."), Cited("Moved to Rome as well.", "Bob")]),
    ("Ada no longer works at Acme.", [ada("I no longer work at Acme.")]),
    ("Ada thanked Bob for the plan.", [ada("Thank you for the plan!", "Bob")]),
    ("Maria adopted a dog named Rex in 2021.", ["In 2021 Maria adopted a dog, Rex."]),
    ("Used to play the guitar, but hasn't in a while.", [ada("I used to play a guitar but haven't in a while.")]),
]
NOT_SAID = [
    ("Ada dislikes tea.", [ada("I like tea.")], "words"),
    ("Ada does not like tea.", [ada("I like tea.")], "negation"),
    ("Ada likes coffee.", [ada("I don't like coffee, but I love tea.")], "negation"),
    ("Ada works at Acme.", [ada("I no longer work at Acme.")], "negation"),
    ("Bob likes tea.", [ada("I like tea.")], "name"),
    ("Bob likes tea.", [ada("I like tea.", "Bob")], "words"),
    ("Zelda bought a green bicycle in Paris.", ["Ada bought a green bicycle in Paris."], "name"),
    ("Ada is 34.", ["Ada is 30. Bob is 34."], "number"),
    ("Ada paid 1200 euros for chairs.", [ada("I bought chairs and paid 1200 dollars.")], "number"),
    ("It is a 5D game.", ["It is a 2D game."], "number"),
    ("Ada moved to Rome on 6 May 2023.", [ada("I moved to Rome yesterday.")], "time"),
    ("Ada moved to Rome on 7 May 2023.", [ada("I moved to Rome in May 2023.")], "time"),
    ("The meeting is at 5 pm.", ["The meeting is at 4 pm."], "time"),
    ("Ada lives in Paris.", [ada("I live in Rome. Paris is nice.")], "contradiction"),
    ("The key is under the mat.", [ada("I like tea.")], "words"),
    ("", ["x"], "nothing"),
    ("!?", ["x"], "nothing"),
    ("Ada likes tea.", [], "name"),
]


@pytest.mark.parametrize(("statement", "sources"), SAID)
def test_what_was_said_is_supported(statement: str, sources: list[Cited | str]) -> None:
    assert supported(statement, sources)
    assert not supported(statement, ["It rains."])


@pytest.mark.parametrize(("statement", "sources", "fault"), NOT_SAID)
def test_what_was_not_said_is_rejected_and_why(statement: str, sources: list[Cited | str], fault: str) -> None:
    found = supported(statement, sources)
    assert not found
    assert found.fault == fault


@pytest.mark.parametrize("filler", ["It rains in the north. ", "It rains\n", "rain ", "r"])
def test_the_end_of_a_long_source_counts_as_well(filler: str) -> None:
    assert supported("Zoe bought 17 chairs.", [f"{filler * (12_000 // len(filler))}. Zoe bought 17 chairs."])


def test_the_share_of_words_is_a_rule() -> None:
    said = [ada("I started a yoga class with a colleague.")]
    assert supported("Ada started a relaxing yoga class downtown.", said)
    assert not supported("Ada started a relaxing yoga class downtown.", said, Rules(words=1))
    with pytest.raises(Invalid, match=r"rules\.words"):
        Rules(words=2)


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_text_whatever_raises(statement: str, source: str) -> None:
    supported(statement, [Cited(source, "Ada", "Bob", MAY_8)])


def observations() -> list[tuple[str, list[Cited], list[Cited]]]:
    """What a language model noted of two of LoCoMo's conversations, none of those on which the rules were chosen: each note with the turns that
    it cites, and with one that stands near them."""
    try:
        samples = json.loads(gzip.decompress((data_folder() / "locomo" / "locomo_dev.json.gz").read_bytes()))[5:]
    except (NotFound, FileNotFoundError):
        pytest.skip("LoCoMo is not in the data folder")
    out = []
    for sample in samples:
        told: dict[str, Any] = sample["conversation"]
        people = [told["speaker_a"], told["speaker_b"]]
        turns: dict[str, Cited] = {}
        for name in [name for name in told if re.fullmatch(r"session_\d+", name)]:
            at = datetime.datetime.strptime(told[f"{name}_date_time"], "%I:%M %p on %d %B, %Y").replace(tzinfo=datetime.UTC)
            for turn in told[name]:
                text = f"{turn['text']} {turn.get('blip_caption', '')}".strip()
                other = people[people[0] == turn["speaker"]]
                turns[turn["dia_id"]] = Cited(text, turn["speaker"], other, int(at.timestamp() * 1e6))
        order = list(turns)
        for noted in sample["observation"].values():
            for note, cited in [one for notes in noted.values() for one in notes]:
                ids = [id_ for id_ in ([cited] if isinstance(cited, str) else cited) if id_ in turns]
                near = order[(order.index(ids[0]) + 3) % len(order)] if ids else ""
                if ids and near not in ids:
                    out.append((note, [turns[id_] for id_ in ids], [turns[near]]))
    return out


def _other_person(note: str, cited: list[Cited]) -> str | None:
    """Of a note that names one of the two; who did it to whom, where it names both, is not to be seen."""
    named = [name for name in (str(cited[0].author), str(cited[0].to)) if re.search(rf"\b{name}\b", note)]
    other = cited[0].to if named == [cited[0].author] else cited[0].author
    return re.sub(rf"\b{named[0]}\b", str(other), note) if len(named) == 1 else None


def _denied(note: str, cited: list[Cited]) -> str | None:
    found = re.search(r"\b(?:is|are|was|were|has|have|will|can)\b", note)
    return None if found is None or re.search(r"n't|\b(?:not|never|no)\b", note) else f"{note[: found.end()]} not{note[found.end() :]}"


def _other_number(note: str, cited: list[Cited]) -> str | None:
    return re.sub(r"\d+", lambda match: str(int(match[0]) + 3), note) if re.search(r"\d", note) else None


def test_what_a_model_noted_is_mostly_accepted_and_what_is_forged_is_not() -> None:
    noted = observations()
    accepted = [(note, cited) for note, cited, _ in noted if supported(note, cited)]
    assert len(accepted) >= 0.55 * len(noted)
    assert sum(bool(supported(note, near)) for note, _, near in noted) <= 0.01 * len(noted), "by a turn near the ones that it cites"
    rng = random.Random(7)
    assert sum(bool(supported(note, rng.choice(noted)[1])) for note, _, _ in noted) <= 0.01 * len(noted), "by turns of another note"
    forgeries: list[tuple[Callable[[str, list[Cited]], str | None], float]] = [(_other_number, 0.02), (_denied, 0.06), (_other_person, 0.1)]
    for forge, share in forgeries:
        forged = [(false, cited) for note, cited in accepted if (false := forge(note, cited)) is not None and false != note]
        assert forged
        passed = [one for one in forged if supported(*one)]
        assert len(passed) <= share * len(forged), (forge.__name__, len(passed), len(forged))


@pytest.mark.parametrize("statement", ["Ann lives in Oslo.", "Ann does not live in Oslo.", "Ann lives in Rome.", "Bob lives in Oslo."])
def test_saying_it_again_and_again_changes_nothing(statement: str) -> None:
    source = "Ann lives in Oslo. "
    once = supported(statement, [source])
    assert supported(" ".join([statement] * 50), [source * 50]) == once
    assert bool(once) is (statement == "Ann lives in Oslo.")
