"""Whether anything leaks: many random requests of many principals, each answer compared with what an oracle of its own allows.

The oracle reads the rules as they were written, and shares no code with the kernel. Every memory carries a word of its own, so that a piece of
one in an answer, or in an error's text, is recognised. Counts must be those of what is allowed, scores those of a store that holds nothing
else, and an unreadable space must answer as one that does not exist does.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mnemos.base.errors import MnemosError, NotFound, PermissionDenied
from mnemos.base.meter import Seconds, machine
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.kernel.space import Space
from mnemos.kernel.system import Mnemos
from mnemos.models.hashed import HashedEmbedder

VERBS = ("read", "write", "share", "derive", "forget")
LABELS = ("public", "internal", "personal", "secret")
TOPICS = ("tram", "harbour", "violin", "garden", "bakery", "library", "market", "bridge")


@dataclass
class Memory:
    """What the oracle knows of one memory."""

    id: str
    space: str
    word: str
    label: str | None
    acl: dict[str, list[str]] | None
    text: str


class World:
    """A store with many spaces and principals, and the oracle that knows all of its rules."""

    def __init__(self, seed: int, spaces: int, principals: int, memories: int) -> None:
        self.rng = rng = random.Random(seed)
        self.mem = Mnemos(":memory:", embedder=HashedEmbedder(dimensions=64))
        self.principals = [f"person-{number}" for number in range(principals)]
        self.roles = {f"team-{number}": rng.sample(self.principals, max(1, principals // 8)) for number in range(6)}
        for role, members in self.roles.items():
            self.mem.set_role(role, members)
        self.settings: dict[str, dict[str, Any]] = {}
        self.memories: dict[str, Memory] = {}
        self.words: dict[str, str] = {}
        self.number = 0
        for number in range(spaces):
            name = f"space-{number}"
            owner = rng.choice(self.principals)
            self.settings[name] = rules = self._rules(owner)
            space = self.mem.as_principal(owner).space(name)
            self.mem.space(name, **{key: value for key, value in rules.items() if key != "owner"})
            for _ in range(memories):
                self.remember(space)

    def _names(self, most: int) -> list[str]:
        pool = [*self.principals, *(f"role:{role}" for role in self.roles), "*"]
        return self.rng.sample(pool, self.rng.randint(0, most))

    def _rules(self, owner: str) -> dict[str, Any]:
        rng = self.rng
        acl = {verb: self._names(20 if verb == "read" else 4) for verb in VERBS if rng.random() < (0.9 if verb == "read" else 0.6)}
        if rng.random() < 0.4:
            acl["read"] = ["*"]
        rules: dict[str, Any] = {"owner": owner, "acl": acl}
        if rng.random() < 0.3:
            rules["deny"] = {rng.choice(VERBS): self._names(2)}
        if rng.random() < 0.3:
            rules["clearance"] = {name: rng.choice(LABELS) for name in self._names(5)}
        if rng.random() < 0.06:
            rules["read_only"] = True
        return rules

    def text(self) -> tuple[str, str]:
        """(a word that nothing else says, a text with it)."""
        self.number += 1
        word = f"zq{self.number:06d}x"
        topics = self.rng.sample(TOPICS, 2)
        return word, f"{word} speaks of the {topics[0]} and of the {topics[1]}."

    def remember(self, space: Space) -> None:
        word, text = self.text()
        label = self.rng.choice((None, None, None, *LABELS, "odd"))
        name = space.name
        read_only = self.settings[name].get("read_only")
        if read_only:
            self.mem.space(name, read_only=False)
        cube = self.mem.space(name).add(text, sensitivity=label, author=self.rng.choice(self.principals))
        acl = {verb: self._names(8) for verb in VERBS if self.rng.random() < 0.5} if self.rng.random() < 0.25 else None
        if acl:
            self.mem.space(name).set_acl(cube.id, acl)
        if read_only:
            self.mem.space(name, read_only=True)
        self.memories[cube.id] = Memory(cube.id, name, word, label, acl or None, text)
        self.words[word] = cube.id

    # -- the oracle --
    def names(self, principal: str) -> set[str]:
        return {principal, "*", *(f"role:{role}" for role, members in self.roles.items() if principal in members)}

    def may(self, principal: str, verb: str, space: str) -> bool:
        """Whether a principal may `verb` in a space, by the rules as they were written."""
        rules, names = self.settings[space], self.names(principal)
        if rules.get("read_only") and verb in ("write", "forget"):
            return False
        if rules["owner"] == principal:
            return True
        if names & set(rules.get("deny", {}).get(verb, ())):
            return False
        if verb == "derive":
            return self.may(principal, "read", space) and bool(names & set(rules["acl"].get("derive", rules["acl"].get("read", ()))))
        return bool(names & set(rules["acl"].get(verb, ())))

    def reads(self, principal: str, memory: Memory) -> bool:
        """Whether a principal may read a memory."""
        rules, names = self.settings[memory.space], self.names(principal)
        if not self.may(principal, "read", memory.space):
            return False
        if rules["owner"] == principal:
            return True
        if memory.acl is not None and "read" in memory.acl and not names & set(memory.acl["read"]):
            return False
        if "clearance" in rules and memory.label is not None:
            level = max((LABELS.index(rules["clearance"][name]) for name in names if name in rules["clearance"]), default=0)
            return (LABELS.index(memory.label) if memory.label in LABELS else len(LABELS) - 1) <= level
        return True

    def readable(self, principal: str, space: str) -> dict[str, Memory]:
        return {id: memory for id, memory in self.memories.items() if memory.space == space and self.reads(principal, memory)}


class Watcher:
    """Compares answers with the oracle, and counts what it finds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.leaks: list[str] = []
        self.wrong: list[str] = []
        self.requests: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.seconds: dict[str, list[float]] = {"hidden": [], "missing": []}

    def leak(self, what: str) -> None:
        self.leaks.append(what)

    def see(self, principal: str, answer: str, allowed: set[str], what: str) -> None:
        """Every memory whose word stands in `answer` must be among `allowed`."""
        for piece in answer.split("zq")[1:]:
            id = self.world.words.get("zq" + piece[:7])
            if id is not None and id not in allowed:
                self.leak(f"{what} by {principal}: shows a memory of {self.world.memories[id].space if id in self.world.memories else 'nowhere'}")

    def request(self) -> None:
        """One random request."""
        world, rng = self.world, self.world.rng
        principal, name = rng.choice(world.principals), rng.choice(list(world.settings))
        kind = rng.choices(list(REQUESTS), [weight for weight, _ in REQUESTS.values()])[0]
        self.requests[kind] += 1
        memory = rng.choice(list(world.memories.values())) if world.memories else None
        allowed = world.readable(principal, name)
        everywhere = {id for id, one in world.memories.items() if one.space == name and id in allowed}
        try:
            REQUESTS[kind][1](self, principal, name, memory, everywhere)
            self.outcomes["answered"] += 1
        except MnemosError as error:
            self.outcomes[type(error).__name__] += 1
            own = {memory.id} if memory is not None and world.reads(principal, memory) else set()
            self.see(principal, str(error), everywhere | own, f"an error of {kind}")

    def space(self, principal: str, name: str) -> Space:
        """The space as a principal gets it; what it is told where it may nothing is compared with what a missing one tells."""
        world = self.world
        view = world.mem.as_principal(principal)
        if any(world.may(principal, verb, name) or (world.settings[name].get("read_only") and world_allows(world, principal, verb, name))
               for verb in VERBS):
            return view.existing_space(name)
        messages = []
        for asked, group in ((name, "hidden"), (f"{name}-no", "missing")):
            fresh = world.mem.as_principal(principal)  # a view's first call looks up its roles: both are first calls
            start = time.perf_counter()
            try:
                fresh.existing_space(asked)
                self.leak(f"{principal} is given space {asked}")
            except NotFound as error:
                self.seconds[group].append(time.perf_counter() - start)
                messages.append(str(error).replace(repr(asked), "NAME"))
        if len(set(messages)) != 1:
            self.leak(f"an unreadable space is told from a missing one: {messages}")
        raise NotFound("as it should be")

    def readers_space(self, principal: str, name: str, step: Callable[[Space], Any]) -> Any:
        """What `step` gives; it must be refused exactly where the principal may not read."""
        space = self.space(principal, name)
        may = self.world.may(principal, "read", name)
        try:
            answer = step(space)
        except PermissionDenied:
            if may:
                self.wrong.append(f"{principal} is refused to read {name}")
            raise
        if not may:
            self.leak(f"{principal} reads {name} without the right to")
        return answer


def world_allows(world: World, principal: str, verb: str, name: str) -> bool:
    """Whether the rules but for `read_only` allow."""
    rules = world.settings[name]
    settings, world.settings[name] = rules, {**rules, "read_only": False}
    try:
        return world.may(principal, verb, name)
    finally:
        world.settings[name] = settings


# ---- the requests ---------------------------------------------------------------------------------------------------


def _search(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    query = watch.world.rng.choice([*TOPICS, memory.word if memory else "tram", "What about the tram and the bridge?"])
    hits = watch.readers_space(principal, name, lambda space: space.search(query, k=100))
    watch.see(principal, " ".join(hit.cube.text for hit in hits), allowed, "search")
    if {hit.cube.id for hit in hits} != allowed:
        (watch.leak if {hit.cube.id for hit in hits} - allowed else watch.wrong.append)(f"search of {name} by {principal} finds other memories")


def _list(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    cubes = watch.readers_space(principal, name, lambda space: space.list(limit=1000))
    if {cube.id for cube in cubes} != allowed:
        (watch.leak if {cube.id for cube in cubes} - allowed else watch.wrong.append)(f"list of {name} by {principal} shows other memories")


def _context(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    context = watch.readers_space(principal, name, lambda space: space.context(watch.world.rng.choice(TOPICS), budget_tokens=400))
    watch.see(principal, context.text, allowed, "context")


def _past(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    position = watch.world.rng.randint(0, watch.world.mem.position())
    cubes = watch.readers_space(principal, name, lambda space: space.at(position).list(limit=1000))
    if {cube.id for cube in cubes} - allowed:
        watch.leak(f"the past of {name} shows {principal} other memories")


def _one(verb: str) -> Callable[[Watcher, str, str, Memory | None, set[str]], None]:
    def step(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
        assert memory is not None
        try:
            answer = watch.readers_space(principal, name, lambda space: getattr(space, verb)(memory.id))
        except NotFound:
            if memory.space == name and memory.id in allowed:
                watch.wrong.append(f"{verb} of a memory of {name} that {principal} may read finds nothing")
            raise
        if memory.space != name or memory.id not in allowed:
            watch.leak(f"{verb} gives {principal} a memory of {memory.space} that it may not read")
        watch.see(principal, str(answer.as_json() if verb == "explain" else answer), allowed, verb)

    return step


def _log(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    world = watch.world
    for entry in world.mem.as_principal(principal).log(max(0, world.mem.position() - 200)):
        one = world.memories.get(str(entry.cube)) if entry.cube else None
        if one is not None and not world.reads(principal, one):
            watch.leak(f"the log shows {principal} an entry of a memory of {one.space}")
        if entry.space == 0:
            watch.leak(f"the log shows {principal} a setting of the store")


def _spaces(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    shown = set(watch.world.mem.as_principal(principal).spaces())
    if shown != {one for one in watch.world.settings if watch.world.may(principal, "read", one)}:
        watch.leak(f"{principal} is shown other spaces than it may read")


def _settings(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    watch.readers_space(principal, name, lambda space: watch.world.mem.as_principal(principal).settings(name))


def _changes(watch: Watcher, principal: str, name: str, memory: Memory | None, allowed: set[str]) -> None:
    """A change that is refused leaves everything as it is; one that is allowed is allowed by the oracle, too."""
    world, rng = watch.world, watch.world.rng
    assert memory is not None
    verb = rng.choice(("write", "forget", "share", "derive"))
    may = world.may(principal, verb if verb != "derive" else "write", name)
    own = memory.space == name and memory.id in allowed
    position = world.mem.position()
    try:
        space = watch.space(principal, name)
        if verb == "write":
            may = may and world.may(principal, "read", name) and own and _listed(world, principal, memory, "write")
            space.freeze(memory.id)
        elif verb == "share":
            may = may and world.may(principal, "read", name) and own and _listed(world, principal, memory, "share")
            space.set_acl(memory.id, memory.acl)
        elif verb == "derive":
            may = may and world.reads(principal, memory)
            may = may and world.may(principal, "derive", memory.space) and _listed(world, principal, memory, "derive")
            _, text = world.text()
            made = space.add(text.split(" ", 1)[1], derived_from=[memory.id])
            world.mem.space(name).forget(made.id)
        else:
            # The id of a memory that one may forget but not read is no secret to who has it; its content stays one.
            may = may and memory.space == name and _listed(world, principal, memory, "forget") and _listed(world, principal, memory, "read")
            if not may:
                space.forget(memory.id)
    except MnemosError:
        if world.mem.position() != position:
            watch.leak(f"a {verb} of {principal} that was refused changed {name}")
        raise
    if not may and verb != "forget":
        watch.leak(f"{principal} may not {verb} in {name}, and did")
    if not may and verb == "forget" and world.mem.position() != position:
        watch.leak(f"{principal} may not forget in {name}, and did")
    if verb == "write":
        world.mem.space(name).unfreeze(memory.id)


def _listed(world: World, principal: str, memory: Memory, verb: str) -> bool:
    if memory.acl is None or verb not in memory.acl:
        return True
    if verb == "read" and world.settings[memory.space]["owner"] == principal:
        return True
    return bool(world.names(principal) & set(memory.acl[verb]))


REQUESTS: dict[str, tuple[float, Callable[[Watcher, str, str, Memory | None, set[str]], None]]] = {
    "search": (3, _search), "list": (2, _list), "context": (0.5, _context), "past": (0.5, _past), "get": (2, _one("get")),
    "history": (1, _one("history")), "explain": (1, _one("explain")), "log": (0.3, _log), "spaces": (0.3, _spaces), "settings": (1, _settings),
    "change": (1.5, _changes),
}  # fmt: skip


def twins(world: World, count: int) -> tuple[int, float]:
    """(comparisons, the largest difference of a score): what a principal finds in a space against a store that holds nothing else."""
    rng, largest, done = world.rng, 0.0, 0
    for _ in range(20 * count):
        if done == count:
            break
        principal, name = rng.choice(world.principals), rng.choice(list(world.settings))
        allowed = world.readable(principal, name)
        if not allowed or len(allowed) == sum(one.space == name for one in world.memories.values()):
            continue
        with Mnemos(":memory:", embedder=world.mem.embedding.embedder, clock=world.mem.clock) as twin:
            for cube in world.mem.space(name).list(limit=1000):
                if cube.id in allowed:
                    twin.space(name).add(cube.text, author=cube.author, id=cube.id, created_at=cube.created_at, sensitivity=cube.sensitivity)
            query = rng.choice([*TOPICS, f"What did {rng.choice(world.principals)} say of the tram?"])
            seen = {hit.cube.id: hit.score for hit in world.mem.as_principal(principal).existing_space(name).search(query, k=100)}
            alone = {hit.cube.id: hit.score for hit in twin.space(name).search(query, k=100)}
        done += 1
        largest = max([largest, *(abs(seen.get(id, 1e9) - alone.get(id, -1e9)) for id in seen.keys() | alone.keys())])
    return done, largest


def run(benchmark: Benchmark, options: Options) -> Result:
    """Fuzzes 50 principals and 50 spaces."""
    requests = 4_000 if options.quick else 100_000
    with Seconds() as took:
        world = World(options.seed, 50, 50, 12)
        watch = Watcher(world)
        for number in range(requests):
            watch.request()
            if number % 10_000 == 9_999:
                options.say(f"{number + 1:,} requests, {len(watch.leaks)} leaks")
        compared, difference = twins(world, 40 if options.quick else 400)
        hidden, missing = (statistics.median(watch.seconds[group]) for group in ("hidden", "missing"))
        sound = bool(world.mem.verify())
        world.mem.close()
    return Result.of(
        benchmark.name,
        benchmark.paper,
        benchmark.claim,
        [
            Check("answers, counts or errors that show what is not allowed", len(watch.leaks), 0, at_least=False, n=requests),
            Check("requests refused, or cut, that are allowed", len(watch.wrong), 0, at_least=False, n=requests),
            Check("largest difference of a score from a store of the allowed memories alone", difference, 1e-4, at_least=False, n=compared),
            Check(
                "time to refuse a hidden space ÷ a missing one (median)", hidden / missing, 2.0, at_least=False, n=len(watch.seconds["hidden"])
            ),
            Check("the store verifies afterwards", float(sound), 1.0, n=1),
        ],
        seconds=took.seconds,
        machine=machine().as_dict(),
        details={
            "requests": dict(watch.requests), "outcomes": dict(watch.outcomes), "leaks": watch.leaks[:20], "wrong": watch.wrong[:20],
            "notes": [f"median seconds to refuse: hidden {hidden:.2e}, missing {missing:.2e}"],
        },
    )  # fmt: skip

