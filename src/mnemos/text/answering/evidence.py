"""What speaks for a candidate: how its sentence matches the question, how near it stands to its words, and whether it is of the sort asked."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from mnemos.index.terms import STOP_WORDS, heading_of, words
from mnemos.text.agreement.words import word_set
from mnemos.text.answering.candidates import Candidate, Line, Source
from mnemos.text.answering.questions import Asked
from mnemos.text.answering.senses import sense
from mnemos.text.entities import key_of
from mnemos.text.name_words import CLASS_OF, FIRST_NAMES, class_of, gender_of

Evidence = dict[str, float]
"""Pieces of evidence by name; what is absent is 0."""

_BEFORE = {
    "in": "place", "at": "place", "near": "place", "is": "be", "was": "be", "are": "be", "were": "be", "be": "be", "named": "named",
    "called": "named", "'s": "own", "my": "own", "his": "own", "her": "own", "their": "own",
    ",": "comma", "(": "bracket", "–": "dash", "-": "dash", "an": "a",
    **{word: word for word in ("a", "the", "by", "from", "to", "on", "for", "with", "of", "and", "as", "than", "born")},
}  # fmt: skip


_FITTING = {
    "who": ("name", "part", "title"), "when": ("time", "said"), "where": ("name", "place", "part"), "number": ("number",), "duration": ("number",),
    "amount": ("number",),
}  # fmt: skip
"""Kinds of candidates that are of the sort asked for."""


_DEMONYM = re.compile(r"(?:ian|ican|ean|ish|ese|ench|utch|reek|erman)$")
_GREETING = word_set("hey hi hello thanks wow oh yeah yes congrats woah cool great awesome sorry bye nah no ok okay")
_LIFE = {"birth": sense("born"), "death": sense("died")}


class Matching:
    """The sources as the question sees them; weighs the candidates of one question."""

    def __init__(self, asked: Asked, sources: Sequence[Source], lines: Sequence[Line], found: Sequence[Candidate]) -> None:
        self._asked, self._sources, self._lines = asked, sources, lines
        self._total = sum(asked.terms.values()) or 1.0
        self._titles = [key_of(heading_of(source.text)) for source in sources]
        self._title_terms = [{sense(part) for part in words(title)} for title in self._titles]
        self._speakers = {key_of(source.author) for source in sources if source.author}
        self._talk = bool(self._speakers)
        self._named = [self._title_share(number) for number in range(len(sources))]
        self._by_place = {(line.source, line.number): line for line in lines}
        self._own = {id(line): self._share(line.held) for line in lines}
        self._with_title = {id(line): self._share(line.held | self._title_terms[line.source] | _author_terms(sources[line.source])) for line in lines}
        self._best = max(self._with_title.values(), default=0.0)
        held = [set(told) for told in self._title_terms]
        for line in lines:
            held[line.source] |= line.held
        self._whole = [self._share(told) for told in held]
        self._bridged = self._bridges()
        self._counts = Counter((one.key, one.line.source, one.line.number) for one in found)
        self._lines_with = Counter(key for key, _, _ in self._counts)

    def evidence(self, one: Candidate) -> Evidence:
        """The evidence for one candidate."""
        asked, line, source = self._asked, one.line, one.line.source
        kind = asked.kind
        out: Evidence = {f"{kind}:{one.kind}": 1.0, f"kind:{one.kind}": 1.0}
        share = self._with_title[id(line)]
        near = [self._by_place.get((source, line.number + step)) for step in (-1, 1)]
        out["sentence"] = self._own[id(line)]
        out["sentence and title"] = share
        out["behind the best"] = self._best - share
        out["best sentence"] = float(share == self._best)
        out["sentence before"] = self._own[id(near[0])] if near[0] else 0.0
        out["sentence after"] = self._own[id(near[1])] if near[1] else 0.0
        out["source"] = self._whole[source]
        out["weight"] = self._sources[source].weight
        out["title asked"] = self._named[source]
        out["bridged"] = self._bridged[source]
        out["early"] = 1 / (1 + line.number)
        out["often"] = math.log(self._lines_with[one.key])
        self._of_span(one, out)
        self._of_key(one, out)
        if one.kind in _FITTING.get(kind, ()) and (kind not in ("who", "where") or one.shown[:1].isupper()):
            for name in ("near", "close", "sentence and title", "behind the best", "early", "in the question", "bridged"):
                out[f"fits, {name}"] = out.get(name, 0.0)
        return out

    def _of_key(self, one: Candidate, out: Evidence) -> None:
        asked, kind = self._asked, self._asked.kind
        parts = one.key.split()
        hashes = [sense(part) for part in parts if part not in STOP_WORDS]
        told = sum(h in asked.terms for h in hashes) / len(hashes) if hashes else 1.0
        out["in the question"] = told
        out["all in the question"] = float(told == 1.0)
        out["is the title"] = float(one.key == self._titles[one.line.source])
        others = (title for at, title in enumerate(self._titles) if at != one.line.source)
        out["is another title"] = float(one.kind != "title" and one.key in others)
        author = self._sources[one.line.source].author
        out["is the author"] = float(author is not None and key_of(author) == one.key)
        out[f"{kind}:demonym"] = float(len(parts) == 1 and one.shown[:1].isupper() and _DEMONYM.search(one.key) is not None)
        out["words"] = math.log(len(parts) or 1)
        out["one word"] = float(len(parts) == 1)
        out[f"{kind}:capital"] = float(one.shown[:1].isupper())
        out[f"{kind}:digits"] = float(any(character.isdigit() for character in one.key))
        person = bool(parts) and (gender_of(parts) != "" or parts[0] in FIRST_NAMES)
        out[f"{kind}:person"] = float(person)
        sort = class_of(parts)
        if sort and sort != "person":
            out[f"{kind}:{sort}"] = 1.0
        if asked.focus:
            wanted = CLASS_OF.get(asked.focus, "")
            out["focus inside"] = float(asked.focus in parts)
            out["of the sort asked"] = float(bool(wanted) and wanted == sort)

    def _of_span(self, one: Candidate, out: Evidence) -> None:
        asked, kind = self._asked, self._asked.kind
        line = one.line
        inside = [at for at, word in enumerate(line.words) if word.start < one.end and word.end > one.start]
        if not inside or one.kind == "said":
            return
        first, last = inside[0], inside[-1]
        before = line.words[first - 1] if first else None
        after = line.words[last + 1] if last + 1 < len(line.words) else None
        if self._talk and one.kind == "name" and (one.key in self._speakers or (before is not None and before.low in _GREETING)):
            out["addressed"] = 1.0
        if before is None:
            out[f"{kind}:begins"] = 1.0
        elif before.low in _BEFORE:
            out[f"{kind}:after {_BEFORE[before.low]}"] = 1.0
        if kind == "when" and one.kind == "time":
            life = next((name for name, h in _LIFE.items() if h in asked.terms), "time")
            earlier = any(word.low[:1].isdigit() for word in line.words[:first])
            out[f"{life}: {'later' if earlier else 'first'} date"] = 1.0
            out[f"{life}: line {min(line.number, 2)}"] = 1.0
        if after is None or after.low in ".!?;":
            out[f"{kind}:ends"] = 1.0
        elif after.low in ("(", "of", "'", "’"):
            out[f"{kind}:before {after.low}"] = 1.0
        close = farther = 0.0
        seen: dict[int, int] = {}
        for at, word in enumerate(line.words):
            if word.h in asked.terms and not first <= at <= last:
                distance = first - at if at < first else at - last
                seen[word.h] = min(distance, seen.get(word.h, 99))
                side = "left" if at < first else "right"
                if distance <= 2:
                    out[f"word {side}"] = 1.0
                if word.h == asked.verb and distance <= 5:
                    out[f"verb {side}"] = 1.0
                    out[f"verb right beside, {side}"] = float(distance <= 2)
                    out[f"{kind}:verb {side}"] = 1.0
        for h, distance in seen.items():
            close += asked.terms[h] / (1 + distance)
            farther += asked.terms[h] / (3 + distance)
        out["close"] = close / self._total
        out["near"] = farther * 3 / self._total
        if asked.focus:
            focus = sense(asked.focus)
            out["focus left"] = float(any(word.h == focus for word in line.words[max(0, first - 4) : first]))
            out["focus right"] = float(any(word.h == focus for word in line.words[last + 1 : last + 4]))
            out["focus there"] = float(focus in line.held)

    def _share(self, held: set[int]) -> float:
        return sum(weight for h, weight in self._asked.terms.items() if h in held) / self._total

    def _title_share(self, number: int) -> float:
        title = self._titles[number]
        if not title:
            return 0.0
        hashes = self._title_terms[number]
        return sum(h in self._asked.terms for h in hashes) / (len(hashes) or 1)

    def _bridges(self) -> list[float]:
        """Of each source whose title the question does not name: the share of the question that a sentence of another source holds which names it."""
        out = []
        for number, title in enumerate(self._titles):
            found = 0.0
            if title and self._named[number] < 1:
                wanted = self._title_terms[number]
                for line in self._lines:
                    if line.source != number and wanted <= line.held:
                        found = max(found, self._with_title[id(line)])
            out.append(found)
        return out


def _author_terms(source: Source) -> set[int]:
    return {sense(part) for part in words(source.author)} if source.author else set()
