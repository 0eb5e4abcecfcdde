"""The compact language: every word is one id, canonical text comes back, and the tokenizer of the checkpoint says the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.models.reference import language, tasks

WHOLE = [word for word in language.VOCABULARY if not word.startswith("##")]


def test_the_vocabulary_has_1024_different_words_of_which_256_are_symbols() -> None:
    assert len(language.VOCABULARY) == len(set(language.VOCABULARY)) == 1024
    assert len(set(language.SYMBOLS)) == 256
    assert not set(language.SYMBOLS) & set(language.WORDS)
    assert [language.IDS[word] for word in language.VOCABULARY] == list(range(1024))


@given(st.lists(st.sampled_from(language.VOCABULARY)))
def test_words_come_back_from_their_ids(words: list[str]) -> None:
    assert language.decode(language.encode(words)) == words


@given(st.text())
def test_any_text_can_be_written_and_only_unknown_characters_are_lost(english: str) -> None:
    words = language.pieces(english)
    language.encode(words)
    if language.UNKNOWN not in words:
        assert "".join(words).replace("##", "") == "".join(english.lower().split())


def test_a_word_or_an_id_outside_the_language_is_refused() -> None:
    with pytest.raises(Invalid, match="no word of the compact language"):
        language.encode(["Bate"])
    with pytest.raises(Invalid, match="go from 0 to 1023"):
        language.decode([5, 1024])


def test_english_is_written_in_pieces() -> None:
    assert language.text(language.pieces("The Whaling, 347!")) == "the whaling , 347 !"
    assert language.pieces("é") == [language.UNKNOWN]


@pytest.fixture(scope="module")
def tokenizer() -> object:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(language.tokenizer_json()))


def test_the_tokenizer_is_made_the_same_each_time(tokenizer: object) -> None:
    assert language.tokenizer_json() == language.tokenizer_json()
    vocabulary = json.loads(language.tokenizer_json())["model"]["vocab"]
    assert vocabulary == language.IDS


@pytest.mark.parametrize("name", tasks.NAMES)
def test_the_tokenizer_agrees_with_the_language_on_every_task(tokenizer: object, name: str) -> None:
    words = tasks.make(name, 300, tasks.most_turns(name, 300), seed=4).words()
    written = language.text(words)
    ids = tokenizer(written)["input_ids"]  # type: ignore[operator]
    assert ids == language.encode(words)
    assert tokenizer.decode(ids) == written  # type: ignore[attr-defined]


@given(st.lists(st.sampled_from(WHOLE), max_size=30))
def test_canonical_text_comes_back_from_the_tokenizer(tokenizer: object, words: list[str]) -> None:
    written = language.text(words)
    assert tokenizer.decode(tokenizer(written)["input_ids"]) == written  # type: ignore[attr-defined,operator]
