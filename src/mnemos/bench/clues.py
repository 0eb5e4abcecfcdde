"""MemoRAG (arXiv 2409.05591) in its statistical form: clues against the question alone where it names nothing that stands beside the evidence; reuse
of a saved memory; real questions over several passages and on long documents; speed. Its compressed keys and values are not measured here."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mnemos
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.baselines import STOP_WORDS, Bm25, rank_dense
from mnemos.bench.clues_world import EXPLICIT, IMPLICIT, world
from mnemos.bench.corpus import Corpus
from mnemos.bench.datasets import data_folder, read_lines, read_text
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.hypergraph_long import DOCUMENTS, KINDS
from mnemos.bench.parts import in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.strategies.comparing import trial
from mnemos.bench.strategies.sets import load as load_sets
from mnemos.index.lexical import LexicalIndex
from mnemos.index.terms import pack_terms, query_terms
from mnemos.models.hashed import HashedEmbedder
from mnemos.models.minilm import MiniLM
from mnemos.text.clues.evidence import Hit, gather
from mnemos.text.clues.statistical import StatisticalMemory

Numbers = NDArray[np.float64]

K = 9
"""Passages that a reader is given; the sheet's (three clues of three)."""
REGISTERS = ((84, 1), (84, 4), (160, 4))
"""Lines, and how many of them make a memory; about 500 tokens, which the memory tokens were trained for, and 1,000."""
HYPOTHETICAL = 3
"""Passages found first that stand for the one that HyDE has a model write."""
NOTES = (
    "Implicit questions name people by what they are to others, or by bynames, that never stand beside the evidence; only the passage that holds "
    "the answer counts as evidence. HyDE-like: the vectors of the question and of the three passages nearest to it, averaged; no model writes one.",
    "`memory + BM25`: the global memory alone, its clues searched for by BM25 and fused (`text.clues.evidence.gather`), without a store.",
    "Lossless invariants, memory size and trained compression (checks 1 to 3), and reuse of what is compressed, are measured by `kv-memorag`.",
    "Registers: made-up lines of the reference model's language, one or four to a memory. One line names the byname that a question asks by, another "
    "holds the answer. The model recalls of all of them, through the memory tokens of the package, 64 tokens to a window, 4 to a memory token.",
    "Long documents: the share of the answer's telling words, beyond the question's, in ten passages; the sets mark no evidence.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """The sheet's checks 4 and 5 in the statistical form, real sets, and speed."""
    return in_parts(benchmark, options, (_implicit, _recalled, _reuse, _several, _long, _speed), NOTES)


# ---- 4: what the question does not name -----------------------------------------------------------------------------


def _implicit(options: Options) -> tuple[list[Check], dict[str, Any]]:
    corpus = world(options.rng(), circles=40 if options.quick else 250).corpus
    found = _arms(corpus, CountingEmbedder(MiniLM(), vector_folder()))
    kinds = np.array([question.category for question in corpus.questions])
    clusters = [question.cluster for question in corpus.questions]
    checks = []
    for label, chosen, bound in (("implicit", np.isin(kinds, IMPLICIT), 0.10), ("explicit", kinds == EXPLICIT, -0.01)):
        some = [cluster for cluster, one in zip(clusters, chosen, strict=True) if one]
        for name in ("dense", "BM25", "HyDE-like", "plain"):
            gain = bootstrap_difference(found["clues"][chosen], found[name][chosen], some, options.rng())
            checks.append(Check(f"{label} questions, evidence recall@{K}, clues − {name}", gain.value, bound if name in ("dense", "BM25") else None,
                                baseline=float(found[name][chosen].mean()), interval=(gain.low, gain.high), n=gain.n))  # fmt: skip
    table = {name: {kind: float(row[kinds == kind].mean()) for kind in (*IMPLICIT, EXPLICIT)} for name, row in found.items()}
    return checks, {f"Made-up valley, evidence recall@{K}": table}


def _recalled(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """The strategy on a space, with what a model recalls of a compressed memory of it, and without."""
    from mnemos.activation.beacon import reference as trained  # torch, for this part alone
    from mnemos.activation.beacon.asking import Prompts
    from mnemos.activation.beacon.recaller import BeaconRecaller
    from mnemos.activation.beacon.windows import Windows
    from mnemos.bench.kv.memorag import register
    from mnemos.models import reference
    from mnemos.models.local.model import LocalModel

    module, tokenizer = reference.load()
    model, beacons = LocalModel(module, tokenizer), trained.load(module)
    prompts = Prompts(recall="<q> key {question} <a>", rewrite="", answer="", summarise="")
    recaller = BeaconRecaller(model, beacons, Windows(64, 4), prompts, first=model.encode("<s>", special=False), tokens=8)
    checks: list[Check] = []
    table: dict[str, Any] = {}
    for lines, each in REGISTERS:
        found: dict[tuple[str, bool], list[float]] = {}
        clusters: dict[bool, list[int]] = {False: [], True: []}
        for number in range(1 if options.quick else 10):
            made = register(f"recalled {options.seed} {number}", lines)
            with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home, mnemos.open(Path(home, "memory.db"), embedder="none") as mem:
                space = mem.space("register", strategy="clues")
                ids = [cube.id for cube in space.add_many({"text": " ".join(made.lines[at : at + each])} for at in range(0, lines, each))]
                mem.recaller = recaller
                space.consolidate()
                for question, evidence, explicit in made.asked:
                    clusters[explicit].append(number * lines + evidence)
                    for arm, strategy in (("recalled", "clues"), ("clues", "clues"), ("plain", "plain")):
                        mem.recaller = recaller if arm == "recalled" else None
                        hits = space.search(question, k=K, strategy=strategy)
                        found.setdefault((arm, explicit), []).append(float(ids[evidence // each] in [hit.cube.id for hit in hits]))
        for explicit, label in ((False, "implicit"), (True, "explicit")):
            rows = {arm: np.array(found[arm, explicit]) for arm in ("recalled", "clues", "plain")}
            gain = bootstrap_difference(rows["recalled"], rows["clues"], clusters[explicit], options.rng())
            checks.append(Check(f"{label} questions, {lines} lines, {each} to a memory, evidence recall@{K}, with what a model recalls − without",
                                gain.value, None, baseline=float(rows["clues"].mean()), interval=(gain.low, gain.high), n=gain.n))  # fmt: skip
            for arm, values in rows.items():
                table.setdefault(f"{arm}, {lines} lines, {each} to a memory", {})[label] = float(values.mean())
    beacons.remove()
    return checks, {f"Registers, evidence recall@{K}": table}


def _arms(corpus: Corpus, embedder: CountingEmbedder) -> dict[str, Numbers]:
    """Recall of the evidence among the first `K`, a value for each question, of every way to search."""
    texts = [str(record["text"]) for record in corpus.records]
    sources = [str(record["source"]) for record in corpus.records]
    vectors = embedder.embed(texts)
    asked = embedder.embed([question.text for question in corpus.questions])
    bm25, remembered = Bm25(texts), _remembered(dict(zip(sources, texts, strict=True)))

    words = LexicalIndex()
    words.append([pack_terms(text) for text in texts])

    def lexical(text: str, k: int) -> list[Hit[int]]:
        said = words.search(text)
        best = np.argsort(-said.bm25, kind="stable")[:k]
        return [Hit(at, texts[at], float(said.coverage[at])) for at in best.tolist() if said.bm25[at] > 0]

    def hypothetical(vector: NDArray[np.float32]) -> list[int]:
        first = rank_dense(vectors, vector, HYPOTHETICAL)
        mean = vector + vectors[first].sum(axis=0)
        return rank_dense(vectors, mean / np.linalg.norm(mean), K)

    out: dict[str, list[float]] = {}
    with mnemos.open(":memory:", embedder=embedder) as memory:
        space = memory.space("world", strategy="clues")
        space.add_many(list(corpus.records))
        space.consolidate()
        for question, vector in zip(corpus.questions, asked, strict=True):
            by_memory = gather(question.text, remembered.clues(question.text), lexical, k=K)
            ways: dict[str, list[str | None]] = {
                "dense": [sources[at] for at in rank_dense(vectors, vector, K)],
                "BM25": [sources[at] for at in bm25.rank(question.text, K, STOP_WORDS)],
                "HyDE-like": [sources[at] for at in hypothetical(vector)],
                "memory + BM25": [sources[one.item] for one in by_memory.evidence],
                "plain": [hit.cube.source for hit in space.search(question.text, k=K, strategy="plain")],
                "clues": [hit.cube.source for hit in space.search(question.text, k=K)],
            }
            for name, found in ways.items():
                out.setdefault(name, []).append(len(question.evidence & set(found)) / len(question.evidence))
    return {name: np.array(values) for name, values in out.items()}


# ---- 5: reuse -------------------------------------------------------------------------------------------------------


def _reuse(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """A memory of some 8,000 tokens that is loaded and asked, against one that is made and asked: one text, and the same as 600 small ones."""
    corpus = world(options.rng(), circles=60).corpus
    question = corpus.questions[0].text
    texts = {str(record["source"]): str(record["text"]) for record in corpus.records}
    table = {}
    for name, documents in {"one text": {"valley": "\n".join(texts.values())}, "600 texts": texts}.items():
        with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as folder:
            path = Path(folder) / "memory"
            _remembered(documents).save(path)
            made = _best(lambda documents=documents: _remembered(documents).clues(question), 5)  # type: ignore[misc]
            loaded = _best(lambda path=path: StatisticalMemory.load(path).clues(question), 5)  # type: ignore[misc]
            table[name] = {"made ms": 1e3 * made, "loaded ms": 1e3 * loaded, "made ÷ loaded": made / loaded, "bytes": path.stat().st_size}
    checks = [Check("one text of 8,000 tokens, memorised and asked ÷ loaded and asked (seconds)", table["one text"]["made ÷ loaded"], 10.0, n=5),
              Check("the same as 600 texts", table["600 texts"]["made ÷ loaded"], n=5)]  # fmt: skip
    return checks, {"Reuse": table}


def _remembered(documents: Mapping[str, str]) -> StatisticalMemory:
    out = StatisticalMemory()
    for name, text in documents.items():
        out.memorise(name, text)
    return out


def _best(work: Callable[[], object], times: int) -> float:
    """The least seconds of some runs."""
    out = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        out.append(time.perf_counter() - start)
    return min(out)


# ---- real sets ------------------------------------------------------------------------------------------------------


def _several(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """Questions over several passages: the foundation and clues, on the same vectors."""
    checks, table = [], {}
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    for name, corpora in load_sets(data_folder(options.data), options, only=("musique", "hotpotqa", "2wikimultihopqa")).items():
        plain, ours = (trial(corpora, strategy, embedder, options) for strategy in ("plain", "clues"))
        for metric in ("recall@10", "all@10"):
            gain = ours.gain(plain, metric, options)
            checks.append(Check(f"{name}, {metric}, clues − plain", gain.value, -0.01 if metric == "recall@10" else None, baseline=plain.mean(metric),
                                interval=(gain.low, gain.high), n=gain.n))  # fmt: skip
        for one in (plain, ours):
            table[f"{name}, {one.strategy}"] = {key: one.row()[key] for key in ("recall@10", "all@10", "context", "read ms p50")}
    return checks, {"Questions over several passages": table}


def _long(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """Questions on long documents: how much of the answers ten passages hold."""
    folder, embedder = data_folder(options.data), CountingEmbedder(MiniLM(), vector_folder())
    checks, table = [], {}
    for name, (text, asked) in DOCUMENTS.items():
        if options.quick and name == "medical":
            continue
        with mnemos.open(":memory:", embedder=embedder) as memory:
            space = memory.space(name, strategy="clues")
            space.add(read_text(folder, text), type="document", source=name)
            space.consolidate()
            rows: dict[str, list[tuple[float, float]]] = {}
            for one in _sampled(read_lines(folder, asked), 15 if options.quick else 60, options):
                wanted = set(query_terms(one["answer"]).hashes.tolist()) - set(query_terms(one["question"]).hashes.tolist())
                if wanted:
                    pair = [_held(wanted, [hit.cube.text for hit in space.search(one["question"], k=10, strategy=s)]) for s in ("clues", "plain")]
                    rows.setdefault(one["question_type"], []).append((pair[0], pair[1]))
        every = np.array([pair for pairs in rows.values() for pair in pairs])
        gain = bootstrap_difference(every[:, 0], every[:, 1], list(range(len(every))), options.rng())
        checks.append(Check(f"{name}, answer's words in ten passages, clues − plain", gain.value, -0.01, baseline=float(every[:, 1].mean()),
                            interval=(gain.low, gain.high), n=gain.n))  # fmt: skip
        for kind, pairs in rows.items():
            ours, plain = np.mean(np.array(pairs), axis=0)
            table[f"{name}, {kind}"] = {"clues": float(ours), "plain": float(plain), "n": len(pairs)}
    return checks, {"Long documents, share of the answer's words": table}


def _sampled(questions: Sequence[dict[str, Any]], each: int, options: Options) -> list[dict[str, Any]]:
    rng, out = options.rng(), []
    for kind in KINDS:
        own = [one for one in questions if one["question_type"] == kind]
        out += [own[at] for at in sorted(rng.permutation(len(own))[:each].tolist())]
    return out


def _held(wanted: set[int], texts: Sequence[str | None]) -> float:
    held = {h for text in texts for h in query_terms(text or "").hashes.tolist()}
    return len(wanted & held) / len(wanted)


# ---- speed ----------------------------------------------------------------------------------------------------------


def _speed(options: Options) -> tuple[list[Check], dict[str, Any]]:
    """20,000 passages of made-up valleys, whose names recur; questions are given by their vectors."""
    rng = options.rng()
    valleys = [world(rng, circles=200).corpus for _ in range(2 if options.quick else 10)]
    records = [record for valley in valleys for record in valley.records]
    questions = [question.text for valley in valleys for question in valley.questions]
    with mnemos.open(":memory:", embedder=HashedEmbedder()) as memory:
        space = memory.space("many", strategy="clues")
        space.add_many(records)
        start = time.perf_counter()
        space.consolidate()
        consolidated = time.perf_counter() - start
        asked = [questions[at] for at in rng.integers(0, len(questions), 200)]
        vectors = memory.embedding.matrix(asked)
        assert vectors is not None
        start = time.perf_counter()
        space.search(asked[0], vector=vectors[0])
        first = time.perf_counter() - start
        took: dict[str, list[float]] = {"clues": [], "plain": []}
        for at, text in enumerate(asked):
            for name, values in took.items():
                start = time.perf_counter()
                space.search(text, vector=vectors[at], strategy=name)
                values.append(time.perf_counter() - start)
    p95 = {name: float(np.percentile(np.array(values) * 1e3, 95)) for name, values in took.items()}
    rows = {name: {"p50 ms": float(np.percentile(np.array(values) * 1e3, 50)), "p95 ms": p95[name]} for name, values in took.items()}
    rows["clues"] |= {"first search s": first, "consolidate ms a memory": 1e3 * consolidated / len(records)}
    return [
        Check(f"search among {len(records):,} memories, p95 (ms, vector given)", p95["clues"], 50.0, at_least=False, baseline=p95["plain"],
              n=len(asked)),
    ], {"Speed": rows}  # fmt: skip

