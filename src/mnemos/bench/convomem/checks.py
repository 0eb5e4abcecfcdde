"""What must hold, one function for each of the eight checks: labels, crossover, router, cut, abstention, statistics, invariants, speed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import orjson

from mnemos.base.stats import wilson
from mnemos.bench.convomem.answerers import CANDIDATES, FRAME_TOKENS, LongContext, Policy, cut_of
from mnemos.bench.convomem.cases import batched_cases, items_of, standard_case, standard_cases
from mnemos.bench.convomem.grammar import asked
from mnemos.bench.convomem.judges import right
from mnemos.bench.convomem.measuring import FIXED, POLICY, TOP_5, WHOLE, readers
from mnemos.bench.convomem.personas import PERSONAS, Persona, Settings
from mnemos.bench.convomem.ranking import Ranking
from mnemos.bench.convomem.reader import ExactReader
from mnemos.bench.convomem.rows import Trial, accuracy, cost_of, difference, is_weak
from mnemos.bench.convomem.schema import CATEGORIES, SIZES, case_json
from mnemos.bench.convomem.validation import given_away, locate, validate
from mnemos.bench.embedding import SeededEmbedder
from mnemos.bench.result import Check
from mnemos.index.exact import ExactIndex
from mnemos.index.lexical import LexicalIndex
from mnemos.index.terms import pack_terms
from mnemos.text.reading_costs import Prices
from mnemos.text.reading_policy import DROP, GAP, ReadPolicy
from mnemos.text.tokens import count_tokens

Say = Callable[[str], None]
Table = dict[str, dict[str, Any]]
NEEDED = 1000
"""Items of each category whose labels are checked."""
_SCANNED = 150
"""Conversations of the histories in which an unanswerable detail is looked for."""


# -- 1 --
def labels(settings: Settings, needed: int, say: Say) -> list[Check]:
    """The exact reader with all evidence, with none, after any single removal; both slices, the paraphrased one in every tenth persona."""
    reader = ExactReader()
    counts: dict[str, int] = defaultdict(int)
    wrong = {"with evidence": 0, "without": 0, "after a removal": 0, "verbatim": 0, "last value": 0, "detail": 0}
    number = 0
    while min((counts[category] for category in CATEGORIES), default=0) < needed:
        say(f"labels: {sum(counts.values()):,} items")
        persona = Persona(number, settings)
        for item in items_of(persona):
            found = validate(item, reader)
            counts[item.category] += 1
            wrong["with evidence"] += not found.with_evidence
            wrong["without"] += found.without
            wrong["after a removal"] += found.after_removal > 0
            wrong["verbatim"] += not found.verbatim
            if item.category == "changing_facts":
                wrong["last value"] += not _ends_last(item)
            if item.category == "abstention" and number % 10 == 0:
                wrong["detail"] += bool(given_away(item, standard_case(item, persona, min(_SCANNED, settings.fillers))))
        reader = ExactReader()
        number += 1
    n = sum(counts.values())
    return [
        Check("exact reader, with evidence", 1 - wrong["with evidence"] / n, 1.0, n=n),
        Check("exact reader, without evidence", wrong["without"] / n, 0.0, at_least=False, n=n),
        Check("exact reader, after some single removal", wrong["after a removal"] / n, 0.0, at_least=False, n=n),
        Check("evidence that is not verbatim, once", wrong["verbatim"] / n, 0.0, at_least=False, n=n),
        Check("changing facts whose answer is not the last value", wrong["last value"] / n, 0.0, at_least=False, n=counts["changing_facts"]),
        Check("histories that give an unanswerable detail away", float(wrong["detail"]), 0.0, at_least=False, n=-(-number // 10) * 6),
    ]


def _ends_last(item: Any) -> bool:
    """Whether a changing fact's answer is the value after the last message in order of time."""
    ask = asked(item.question)
    reader = ExactReader()
    pieces = reader.extract(item.question, list(enumerate(item.conversations)), 0)
    last = pieces[-1].statement
    if ask is None or last is None:
        return False
    if ask.shape == "history":
        return bool(item.answer.split(";")[0] == f"now {last.value}")
    before = reader.answer(item.question, pieces[:-1], 0).text.split()[0]
    change = int(last.value) if last.kind == "raise" else -int(last.value)
    return bool(item.answer == f"{int(before) + change} dollars")


# -- 2, 3, 5, 6 on trials --
def crossover(trials: Sequence[Trial], n_star: float, rng: np.random.Generator) -> list[Check]:
    """Reading everything against five hits on 3 to 6 pieces of evidence in up to 150 conversations; where the costs cross."""
    ours, theirs = (
        [trial for trial in trials if trial.method == method and trial.evidence >= 3 and trial.size <= 150] for method in (WHOLE, TOP_5)
    )
    return [
        Check.of("long context − top 5, 3–6 evidence, up to 150", difference(ours, theirs, rng), 0.20),
        Check("n*: conversations from which a memory that a model writes is cheaper", n_star, float(max(SIZES)), at_least=False),
    ]


def router(trials: Sequence[Trial], prices: Prices, rng: np.random.Generator) -> list[Check]:
    """The policy against the best fixed way, over all sizes and categories, after the gate; and its cost against reading everything."""
    by_method = {method: [trial for trial in trials if trial.method == method] for method in (*FIXED, POLICY)}
    right_gated = {method: float(np.mean([trial.right_gated for trial in found])) for method, found in by_method.items()}
    best = max(FIXED, key=lambda method: right_gated[method])
    cost = {method: float(np.mean([cost_of(trial.usage, prices) for trial in found])) for method, found in by_method.items()}
    gap = difference(by_method[POLICY], by_method[best], rng, gated=True)
    return [
        Check.of(f"policy − best fixed way ({best})", gap, -0.01, baseline=right_gated[best]),
        Check("cost of the policy ÷ reading everything", cost[POLICY] / cost[WHOLE], 0.60, at_least=False,
              baseline=cost[best] / cost[WHOLE], n=len(by_method[POLICY])),
    ]  # fmt: skip


def abstention(trials: Sequence[Trial], size: int, rng: np.random.Generator) -> list[Check]:
    """Invented answers after `size` conversations read whole, without and with the gate, and what the gate costs on the rest."""
    unanswerable = [trial for trial in trials if trial.category == "abstention" and trial.method == WHOLE and trial.size == size]
    answerable = [trial for trial in trials if trial.category != "abstention" and trial.method == WHOLE and trial.size == size]
    invented = wilson(sum(trial.claimed_gated for trial in unanswerable), len(unanswerable))
    without = float(np.mean([trial.claimed for trial in unanswerable]))
    lost = accuracy(answerable, rng).value - accuracy(answerable, rng, gated=True).value
    return [
        Check.of(f"invented answers at {size}, with the gate", invented, 0.05, at_least=False, baseline=without),
        Check(f"answerable questions lost to the gate at {size}", lost, 0.03, at_least=False, n=len(answerable)),
    ]


def statistics(trials: Sequence[Trial]) -> list[Check]:
    """The cells that are compared rest on enough histories and items."""
    cells: dict[tuple[int, str], list[Trial]] = defaultdict(list)
    for trial in trials:
        cells[trial.size, trial.method].append(trial)
    weak = [cell for cell, found in cells.items() if is_weak(len(found), len({trial.history for trial in found}))]
    fewest = min(len({trial.history for trial in found}) for found in cells.values())
    return [
        Check("histories of the smallest size's cell", fewest, 20, n=len(cells)),
        Check("weak cells among those of all categories", len(weak), 0, at_least=False, n=len(cells)),
    ]


# -- 4 --
def cut(settings: Settings, personas: Sequence[int], sizes: Sequence[int], say: Say) -> tuple[list[Check], Table]:
    """All evidence within the cut, and its tokens, for each rule, over answerable categories that a search by words can find."""
    found: dict[str, dict[int, list[tuple[bool, int]]]] = defaultdict(lambda: defaultdict(list))
    for number in personas:
        say(f"cut: persona {number + 1} of {len(personas)}")
        persona = Persona(number, settings)
        items = [item for item in items_of(persona) if item.category not in ("abstention", "implicit_connections")]
        with Ranking() as ranking:
            ranking.take_in([*persona.fillers, *(conversation for item in items for conversation in item.conversations)])
            for item in items:
                for size in (size for size in sizes if size >= item.evidence_count):
                    ranked = ranking.rank(item.question, standard_case(item, persona, size).conversations, CANDIDATES)
                    rules = {TOP_5: 5, "odds": cut_of(item.question, ranked, DROP), "95 %": cut_of(item.question, ranked, None),
                             "gap": cut_of(item.question, ranked, None, GAP)}  # fmt: skip
                    for rule, k in rules.items():
                        held = sum(hit.message in item.message_evidences for hit in ranked[:k]) >= item.evidence_count
                        tokens = sum(count_tokens(hit.message.text) + 2 for hit in ranked[:k])
                        found[rule][item.evidence_count].append((held, tokens))
    table: Table = {}
    for rule, groups in found.items():
        table[rule] = {}
        for evidence, name in ((1, "1"), (6, "6")):
            held, tokens = np.mean(groups[evidence], axis=0).tolist()
            table[rule] |= {f"all evidence, {name}": held, f"tokens, {name}": tokens}
        held, tokens = np.mean([pair for group in groups.values() for pair in group], axis=0).tolist()
        table[rule] |= {"all evidence, any": held, "tokens, any": tokens}
    ours, theirs = table["odds"], table[TOP_5]
    n = len(found["odds"][6])
    return [
        Check("cut by odds − top 5, all evidence of 6", ours["all evidence, 6"] - theirs["all evidence, 6"], 0.20, n=n),
        Check("its tokens ÷ top 5's, 6 pieces", ours["tokens, 6"] / theirs["tokens, 6"], 2.0, at_least=False, n=n),
        Check("its tokens ÷ top 5's, 1 piece", ours["tokens, 1"] / theirs["tokens, 1"], 1.0, at_least=False, n=len(found["odds"][1])),
    ], table


# -- 3, the budget --
def budgets(settings: Settings, personas: Sequence[int], sizes: Sequence[int]) -> list[Check]:
    """Questions for which the policy reads more than its budget allows."""
    over = n = 0
    for number in personas:
        persona = Persona(number, settings)
        reader, helper = readers(persona)
        items = items_of(persona)[::3]
        with Ranking() as ranking:
            for budget in (1_000, 4_000, 16_000, 64_000):
                method = Policy(reader, helper=helper, ranking=ranking, policy=ReadPolicy(budget_tokens=budget, hit_tokens=25))
                for item in items:
                    for size in (size for size in sizes if size >= item.evidence_count):
                        case = standard_case(item, persona, size)
                        _, usage, _ = method.read(item.question, list(enumerate(case.conversations)))
                        over += usage.read > budget
                        n += 1
    return [Check("questions over their budget of 1,000 to 64,000 tokens", float(over), 0.0, at_least=False, n=n)]


# -- 7 --
def invariants(settings: Settings, personas: Sequence[int]) -> list[Check]:
    """The same seed gives the same bytes; fillers never alter an answer; batched and standard agree; evidence once; no personas mixed."""
    broken = {"other bytes": 0, "answer altered": 0, "modes differ": 0, "not once": 0, "mixed": 0, "usage": 0}
    n = 0
    for number in personas:
        persona, again = Persona(number, settings), Persona(number, settings)
        items, twins = items_of(persona), items_of(again)
        reader = ExactReader()
        standard: dict[str | None, bool] = {}
        for item, twin in zip(items, twins, strict=True):
            for size in (10, 50):
                case = standard_case(item, persona, size)
                broken["other bytes"] += orjson.dumps(case_json(case)) != orjson.dumps(case_json(standard_case(twin, again, size)))
                standard[item.scenario_description] = _exactly(reader, item, case.conversations)
                broken["answer altered"] += not standard[item.scenario_description]
                broken["not once"] += any(len(locate(message.text, case.conversations)) != 1 for message in item.message_evidences)
                broken["mixed"] += any(not (conversation.id or "").startswith(persona.id) for conversation in case.conversations)
                n += 1
        for case in batched_cases(items, persona, 50):
            for item in case.evidence_items:
                broken["modes differ"] += _exactly(reader, item, case.conversations) != standard[item.scenario_description]
            method = LongContext(reader)
            method.history = list(case.conversations)
            question = case.evidence_items[0].question
            usage = method.answer(question).usage
            broken["usage"] += usage.reader_in != case.tokens + FRAME_TOKENS + count_tokens(question)
    return [Check(f"invariants: {name}", float(count), 0.0, at_least=False, n=n) for name, count in broken.items()]


def _exactly(reader: ExactReader, item: Any, conversations: Sequence[Any]) -> bool:
    return right(item, reader.answer(item.question, reader.extract(item.question, list(enumerate(conversations)), 0), 0).text)


# -- 8 --
def speed(settings: Settings, cases: int, say: Say) -> list[Check]:
    """Cases generated a second, of whole-length conversations and every size; words and vectors scored over 300 conversations of 3M characters."""
    say("speed")
    long = Settings(settings.seed, 80, 120, max(SIZES))
    start, made = perf_counter(), 0
    for made, _ in enumerate(standard_cases(long, SIZES, range(PERSONAS)), 1):
        if made == cases:
            break
    seconds = (perf_counter() - start) * 10_000 / made
    persona = Persona(0, Settings(settings.seed, 125, 128, max(SIZES)))
    texts = [message.text for conversation in persona.fillers for message in conversation.messages]
    index = LexicalIndex()
    index.append([pack_terms(text) for text in texts])
    questions = [item.question for item in items_of(persona)]
    index.search(questions[0])  # the postings are sorted at the first search after they grew
    words = max(_middle(partial(index.search, question)) for question in questions)
    embedder = SeededEmbedder()
    exact = ExactIndex(embedder.dimensions)
    vectors = embedder.embed(texts)
    exact.put(np.arange(len(texts)), vectors)
    meaning = _middle(lambda: exact.scores(vectors[0], len(texts)))
    characters = sum(map(len, texts))
    return [
        Check("10,000 cases generated, seconds", seconds, 60.0, at_least=False, n=made),
        Check(f"BM25 over 300 conversations ({characters / 1e6:.1f}M characters), ms", 1000 * words, 200.0, at_least=False, n=len(texts)),
        Check("dense over the same, ms", 1000 * meaning, 50.0, at_least=False, n=len(texts)),
    ]


def _middle(call: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the middle one of some calls."""
    seconds = []
    for _ in range(times):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return float(np.median(seconds))
