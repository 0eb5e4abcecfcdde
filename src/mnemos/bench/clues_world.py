"""A made-up corpus whose questions name people by what they are to others, or by bynames, which never stand beside the evidence (MemoRAG's implicit
questions, in the sheet's form: "the sister of the owner of X").

Each circle has a house with an owner, a relative of the owner, and somebody with a byname; each tells its link in one passage and what is asked in
another. Other passages tell the same kinds of things, in the same words, of people who occur nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mnemos.base.errors import Invalid
from mnemos.bench.corpus import Corpus, Question

MOST_CIRCLES = 500
ROLE, BYNAME, EXPLICIT = "role", "byname", "explicit"
IMPLICIT = (ROLE, BYNAME)
_FIRST = (
    "Agnes", "Boris", "Clara", "Dmitri", "Edith", "Felix", "Greta", "Hugo", "Irma", "Jonas", "Karin", "Leon", "Mina", "Nils", "Olga", "Pavel", "Rosa",
    "Simon", "Tilda", "Viktor", "Wanda", "Yuri", "Zelda", "Anton", "Berta", "Casper", "Dora", "Emil", "Frida", "Gustav",
)  # fmt: skip
_HEADS = (
    "Hal", "Brom", "Cald", "Dren", "Esk", "Fald", "Gren", "Holt", "Ing", "Karst", "Lund", "Marl", "Nord", "Ost", "Pell", "Rad", "Sten", "Thorn",
    "Ulv", "Varg",
)  # fmt: skip
_TAILS = ("en", "ast", "ovic", "ermann", "wick", "qvist", "adze", "olini", "ic", "ander", "esco", "mark", "ura", "zen", "haus")
_HOUSES = ("Mill", "Manor", "Lodge", "Grange", "Hall", "Farm", "Priory", "Tower")
_KIN = ("sister", "brother", "cousin", "niece", "nephew", "uncle", "aunt", "godmother")
_BIRDS = ("Heron", "Magpie", "Falcon", "Otter", "Badger", "Raven", "Swallow", "Lynx", "Marten", "Crane")
_THINGS = (
    "moths", "barometers", "tin soldiers", "sea charts", "thimbles", "church bells", "pocket watches", "puppets", "meteorites", "kites", "stamps",
    "lanterns",
)  # fmt: skip
_TOWNS = ("Graz", "Lisbon", "Tromso", "Cork", "Ghent", "Turku", "Bari", "Split", "Vigo", "Lund", "Odessa", "Riga")
_SKILLS = ("dive", "weld", "carve wood", "play the cello", "fence", "fly gliders", "bind books", "graft apples")
_OWNS = ("{house} has belonged to {a} for years.", "{a} is the owner of {house}.", "Since the auction {house} is owned by {a}.")
_RELATED = ("{b} is the {kin} of {a}.", "{a} has a {kin}, {b}, who rarely visits.", "At the fair {a} came with {b}, a {kin}.")
_BYNAMED = ("People call {a} the {byname}.", "{a} is known in the valley as the {byname}.", "In the papers the {byname} is {a}.")
_COLLECTS = (
    "{a} collects {thing}, mostly from {town}.",
    "In a shed near {town}, {a} keeps a collection of {thing}.",
    "{a} began to collect {thing} in {town}.",
)
_LEARNS = ("{a} learned to {skill} in {town}.", "It was in {town} that {a} learned to {skill}.", "A winter in {town} taught {a} to {skill}.")


@dataclass(frozen=True, slots=True)
class World:
    """The passages, with questions of the three kinds; the evidence of each is the passage that holds what is asked, not those that lead to it."""

    corpus: Corpus = field(repr=False)
    circles: int


def world(rng: np.random.Generator, circles: int = 100) -> World:
    """Ten passages and four questions a circle; the same for the same state of the generator. Raises `Invalid` for more than `MOST_CIRCLES`."""
    if not 1 <= circles <= MOST_CIRCLES:
        raise Invalid(f"clues world: names suffice for 1 to {MOST_CIRCLES} circles, not {circles}; draw several worlds")
    draw = _Draw(rng)
    texts: list[str] = []
    asked: list[tuple[str, int, str]] = []

    def tell(forms: tuple[str, ...], **values: str) -> int:
        texts.append(str(rng.choice(forms)).format(**values))
        return len(texts) - 1

    for _ in range(circles):
        owner, relative, known = draw.person(), draw.person(), draw.person()
        house, byname, kin = draw.house(), draw.byname(), draw.of(_KIN)
        tell(_OWNS, house=house, a=owner)
        tell(_RELATED, a=owner, b=relative, kin=kin)
        tell(_BYNAMED, a=known, byname=byname)
        skill = draw.of(_SKILLS)
        collects = tell(_COLLECTS, a=relative, thing=draw.of(_THINGS), town=draw.of(_TOWNS))
        learns = tell(_LEARNS, a=known, skill=skill, town=draw.of(_TOWNS))
        asked += [
            (f"What does the {kin} of the owner of {house} collect?", collects, ROLE),
            (f"Where did the {byname} learn to {skill}?", learns, BYNAME),
            (f"What does {relative} collect?", collects, EXPLICIT),
            (f"Where did {known} learn to {skill}?", learns, EXPLICIT),
        ]
        tell(_OWNS, house=draw.house(), a=draw.person())
        tell(_RELATED, a=draw.person(), b=draw.person(), kin=kin)
        tell(_BYNAMED, a=draw.person(), byname=draw.byname())
        tell(_COLLECTS, a=draw.person(), thing=draw.of(_THINGS), town=draw.of(_TOWNS))
        tell(_LEARNS, a=draw.person(), skill=skill, town=draw.of(_TOWNS))
    order = rng.permutation(len(texts)).tolist()
    records = [{"text": texts[at], "type": "document", "source": f"p{at}"} for at in order]
    questions = [Question(f"q{at}", text, frozenset([f"p{evidence}"]), kind, f"circle {at // 4}") for at, (text, evidence, kind) in enumerate(asked)]
    return World(Corpus("clues", records, questions), circles)


class _Draw:
    """Names, none twice."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._taken: set[str] = set()

    def of(self, words: tuple[str, ...]) -> str:
        return str(self._rng.choice(words))

    def person(self) -> str:
        return self._new(lambda: f"{self.of(_FIRST)} {self._made()}")

    def house(self) -> str:
        return self._new(lambda: f"{self._made()} {self.of(_HOUSES)}")

    def byname(self) -> str:
        return self._new(lambda: f"{self.of(_BIRDS)} of {self._made()}")

    def _made(self) -> str:
        return self.of(_HEADS) + self.of(_TAILS)

    def _new(self, make: Callable[[], str]) -> str:
        name = make()
        while name in self._taken:
            name = make()
        self._taken.add(name)
        return name
