"""From a text to sentences and words, contractions undone, so that what follows sees plain English."""

from __future__ import annotations

import re
from typing import NamedTuple

from mnemos.text.agreement.words import AUXILIARIES, FORMS, PREPOSITIONS, word_set

LONGEST = 4_000
"""Characters of a text that are read for statements: a memory is a fact, a turn or a paragraph, and of anything longer its beginning counts."""


class Token(NamedTuple):
    """A word, number or sign of a text."""

    text: str
    low: str
    """The word in lower case, apostrophes plain."""

    @property
    def capital(self) -> bool:
        """Whether it is written like a name; `I` is none."""
        return self.text[:1].isupper() and self.low != "i"


_TOKEN = re.compile(
    r"[$€£¥]?\d{1,3}(?:,\d{3})+(?:\.\d+)?%?"
    r"|[$€£¥]\d[\d.]*\d?[kKmM]?\b|\d+(?:[.:/-]\d+)*(?:st|nd|rd|th|[kKmM]|%)?(?!\w)|\d+[ap]\.?m\b\.?"
    r"|[^\W_]+(?:[.'@:/&+_-]+[^\W_]+)*|[@#]\w+|[,;:()\"\n.!?]|[–—]"
)
_DASH = re.compile(r"\s+-{1,3}\s+|-{2,3}")
_CURLY = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "‑": "-", "‐": "-", "\t": " ", "\r": " ", "*": " "})
_SENTENCE = re.compile(r"(?<=[.!?])[\"')\]]*\s+|\n+")
_ABBREVIATION = re.compile(r"(?:\b(?:dr|mr|mrs|ms|st|vs|e\.g|i\.e|prof|jr|sr|approx|no|a\.m|p\.m|inc|ltd|co|mt|u\.s)|\b[A-Z])\.$", re.I)
_CONTRACTIONS = {
    "n't": "not", "'m": "am", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would",
}  # fmt: skip
_WHOLE = {
    "can't": ("can", "not"), "won't": ("will", "not"), "shan't": ("shall", "not"), "ain't": ("is", "not"), "cannot": ("can", "not"),
    "let's": ("let", "us"), "dont": ("do", "not"), "doesnt": ("does", "not"), "didnt": ("did", "not"), "im": ("i", "am"), "ive": ("i", "have"),
    "isnt": ("is", "not"), "cant": ("can", "not"), "wont": ("will", "not"), "gonna": ("going", "to"), "wanna": ("want", "to"),
}  # fmt: skip
_PRONOUNS = word_set("i you he she it we they that there here what who where how this everything everyone")
_AFTER_IS = word_set(
    """
    a an the not now no still in at on been going just really very also my his her our their your so too already always
    """
)


def sentences(text: str) -> list[str]:
    """The sentences of `text`, in order: cut after . ! ? and at line breaks, not after abbreviations and initials."""
    out: list[str] = []
    for piece in _SENTENCE.split(text[:LONGEST].translate(_CURLY)):
        if out and _ABBREVIATION.search(out[-1]):
            out[-1] += " " + piece
        elif piece.strip():
            out.append(piece)
    return out


def tokens(sentence: str) -> list[Token]:
    """The tokens of a sentence; `'s` stands alone where it is a possessive, and is `is` where it is the verb."""
    found = _TOKEN.findall(_DASH.sub(" — ", sentence))
    out: list[Token] = []
    for at, raw in enumerate(found):
        low = raw.lower()
        if low in _WHOLE:
            first, second = _WHOLE[low]
            out += [Token("I" if first == "i" else raw[:1] + first[1:], first), Token(second, second)]
            continue
        if "'" not in low:
            following = found[at + 1].lower() if at + 1 < len(found) else ""
            once = low in ("a", "an") and following in ("hour", "minute") and out and (out[-1].low in PREPOSITIONS or out[-1].low in FORMS)
            out.append(Token("one", "one") if once else Token(raw, low))  # for an hour, but miles an hour
            continue
        for ending, word in _CONTRACTIONS.items():
            if low.endswith(ending) and len(low) > len(ending):
                stem = raw[: -len(ending)]
                if ending == "'d" and at + 1 < len(found) and found[at + 1].lower() in ("been", "better"):
                    word = "had"
                out += [Token(stem, stem.lower()), Token(word, word)]
                break
        else:
            if low.endswith("'s") and len(low) > 2:
                stem = raw[:-2]
                following = found[at + 1].lower() if at + 1 < len(found) else ""
                verb = stem.lower() in _PRONOUNS or following in _AFTER_IS or following in PREPOSITIONS or following.endswith("ing")
                out += [Token(stem, stem.lower()), Token("is", "is") if verb else Token("'s", "'s")]
            else:
                out.append(Token(raw, low))
    return out


def english(words: list[Token]) -> bool:
    """Whether a text of several words reads as English: a share of its words are English function words; of a few words nothing is asked."""
    letters = [word for word in words if word.low[:1].isalpha()]
    if not letters:
        return False
    known = sum(word.low in AUXILIARIES or word.low in PREPOSITIONS or word.low in _FUNCTION for word in letters)
    return all(word.low.isascii() for word in letters[:1]) and (known * 8 >= len(letters) or len(letters) <= 5)


_FUNCTION = word_set(
    """
    i my me we our us you your he his him she her they their them it its the a an and but or not no s 's this that these those now so
    """
)
