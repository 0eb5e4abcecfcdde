"""The compact language of the reference model: 1,024 words of which each is one id, so that recall is a matter of attention and not of spelling.

A text is words with one space between them (docs/reference-model.md has the grammar of every task). English outside the list is written in pieces,
as WordPiece does (Schuster & Nakajima 2012): a piece that continues a word begins with `##`, and letters are pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from mnemos.base.errors import Invalid, shown

PAD, UNKNOWN, START, QUESTION, ANSWER, END = MARKS = ("<pad>", "<unk>", "<s>", "<q>", "<a>", "<end>")
"""Padding; what no piece can write; a session's start; before a question; before its answer; after its answer."""

PUNCTUATION = tuple(":;.,=+-(){}?!'\"></*_#@%&|[]^~$")
NUMBERS = tuple(str(number) for number in range(100))
_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
_CONTINUED = tuple(f"##{character}" for character in "abcdefghijklmnopqrstuvwxyz0123456789")
_CANONICAL = re.compile(r"[a-z]+|[0-9]+|[^a-z0-9\s]")


def _listed(name: str) -> tuple[str, ...]:
    return tuple((files(__package__) / name).read_text(encoding="utf-8").split())


SYMBOLS = _listed("symbols.txt")
"""256 made-up words: keys, values and names. None begins a word of the books that the model was trained on."""

WORDS = _listed("words.txt")
"""Common English words, among them every task's own, and then pieces of words."""

VOCABULARY = (*MARKS, *PUNCTUATION, *NUMBERS, *_LETTERS, *_CONTINUED, *SYMBOLS, *WORDS)
"""Every word; a word's id is its place."""

IDS = {word: place for place, word in enumerate(VOCABULARY)}


def encode(words: Iterable[str]) -> list[int]:
    """The ids of words of the vocabulary. Raises `Invalid` for another word (see `pieces`)."""
    try:
        return [IDS[word] for word in words]
    except KeyError as error:
        raise Invalid(f"{shown(error.args[0])} is no word of the compact language; write free text with language.pieces") from None


def decode(ids: Iterable[int]) -> list[str]:
    """The words of ids. Raises `Invalid` for a number that is no id."""
    listed = list(ids)
    if wrong := [number for number in listed if not 0 <= number < len(VOCABULARY)]:
        raise Invalid(f"{wrong[0]} is no id of the compact language: they go from 0 to {len(VOCABULARY) - 1}")
    return [VOCABULARY[number] for number in listed]


def text(words: Iterable[str]) -> str:
    """Words as one text: a space between them, and none before a piece that continues a word."""
    return " ".join(words).replace(" ##", "")


def pieces(english: str) -> list[str]:
    """Free text in words of the vocabulary: lower-cased, punctuation apart, rare words in pieces, characters that none writes as `<unk>`."""
    return [piece for word in _CANONICAL.findall(english.lower()) for piece in _pieces(word)]


@cache
def _pieces(word: str) -> tuple[str, ...]:
    found: list[str] = []
    at = 0
    while at < len(word):
        head = "##" if at else ""
        end = next((end for end in range(len(word), at, -1) if head + word[at:end] in IDS), None)
        if end is None:
            return (UNKNOWN,)
        found.append(head + word[at:end])
        at = end
    return tuple(found)


def tokenizer_json() -> str:
    """The language as a `tokenizer.json` (Hugging Face tokenizers); the same text for the same vocabulary. Needs the package `tokenizers`."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordPiece(IDS, unk_token=UNKNOWN, max_input_chars_per_word=1000))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z]+|[0-9]+|[^a-z0-9\s]"), behavior="removed", invert=True)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    return str(tokenizer.to_str())
