"""Which benchmarks there are. A new one is a module with `run(options)` and a line here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnemos.base.errors import NotFound

if TYPE_CHECKING:
    from mnemos.bench.result import Result


def _silent(_: str) -> None:
    """The progress of a run that nobody watches."""


@dataclass(frozen=True)
class Options:
    """How to run: `quick` takes a seeded, stratified sample that ends within a minute on 2 cores; `data` is the data folder, found
    as `mnemos.bench.datasets.data_folder` says where None; `peers` names other systems to run on the same texts; `say` hears progress; `own` are
    the benchmark's own options by name, of those that it takes."""

    quick: bool = False
    data: Path | None = None
    seed: int = 0
    peers: tuple[str, ...] = ()
    say: Callable[[str], None] = _silent
    own: Mapping[str, str] = field(default_factory=dict)

    def rng(self) -> np.random.Generator:
        """A fresh generator from the seed."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class Benchmark:
    """A name, what it is measured for, the module whose `run(options)` measures it, and the options of its own that it takes, with what each is."""

    name: str
    paper: str
    claim: str
    module: str
    takes: Mapping[str, str] = field(default_factory=dict)

    def run(self, options: Options) -> Result:
        """Measures. Raises `NotFound` where the data is absent."""
        result: Result = importlib.import_module(self.module).run(self, options)
        return result


def _at(name: str) -> str:
    return f"mnemos.bench.{name}"


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "locomo",
            "LoCoMo, arXiv 2402.17753",
            "Offline and with no language model, one search finds the evidence turns of long two-person conversations: "
            "recall@5 ≥ 0.68, @10 ≥ 0.75, @20 ≥ 0.81, all evidence@10 ≥ 0.69, adversarial@10 ≥ 0.69.",
            _at("locomo"),
        ),
        Benchmark(
            "longmemeval",
            "LongMemEval, arXiv 2410.10813",
            "In full chat histories, turn-level recall@10 is at least 1.1 times that of reciprocal-rank fusion, and a context of "
            "2,000 tokens holds all evidence for at least 85 % of the questions.",
            _at("longmemeval"),
        ),
        Benchmark(
            "multihop",
            "MuSiQue, HotpotQA, 2WikiMultihopQA (arXiv 2108.00573, 1809.09600, 2011.01060)",
            "Over pooled passages, recall@10 of the supporting ones is not below reciprocal-rank fusion on the same vectors.",
            _at("multihop"),
        ),
        Benchmark(
            "qmsum",
            "QMSum, arXiv 2104.05938",
            "In transcripts of real meetings, recall@10 of the turns that a query rests on is not below reciprocal-rank fusion.",
            _at("qmsum"),
        ),
        Benchmark(
            "bfcl-memory",
            "Berkeley Function-Calling Leaderboard v4, memory",
            "The message that holds the answer is among the first ten hits for at least 97 % of the questions.",
            _at("bfcl_memory"),
        ),
        Benchmark(
            "nq-open",
            "Natural Questions (Lost in the Middle, arXiv 2307.03172)",
            "Among pooled Wikipedia passages, recall@10 of the gold one is not below reciprocal-rank fusion on the same vectors.",
            _at("nq_open"),
        ),
        Benchmark(
            "strategies",
            "A-MEM, TiM, MemGAS, Mem-α, HGMem, MemoRAG (arXiv 2502.12110, 2311.08719, 2505.19549, 2509.25911, 2512.23959, 2409.05591)",
            "On real histories a relational strategy raises all-evidence recall@10 of multi-hop questions by at least 8 points over the foundation, "
            "and auto is at no set more than a point below the best single strategy.",
            _at("strategies.run"),
        ),
        Benchmark(
            "reads",
            "A-MEM, TiM, MemGAS, Mem-α, HGMem, MemoRAG (arXiv 2502.12110, 2311.08719, 2505.19549, 2509.25911, 2512.23959, 2409.05591)",
            "A search among 20,000 memories with their views takes at most 50 ms (p95) by every strategy, without embedding the question.",
            _at("strategy_reads"),
        ),
        Benchmark(
            "thoughts",
            "Think-in-Memory (TiM), arXiv 2311.08719",
            "Conclusions that are drawn once and kept answer alike however they are asked for, more often rightly than turns do at equal tokens, are "
            "found by hashing at 15 % of the comparisons, and go when they are contradicted.",
            _at("thoughts"),
        ),
        Benchmark(
            "granularity",
            "MemGAS, arXiv 2505.19549",
            "Sessions are found by turns, wholes, summaries and key phrases, each weighed by how sure it is, at least as well as by the best of them "
            "alone, and better than by plain averages; associations find what the question does not name.",
            _at("granularity"),
        ),
        Benchmark(
            "clues",
            "MemoRAG, arXiv 2409.05591",
            "Clues from a corpus-wide memory of names, terms and gists raise evidence recall@9 of questions that name nothing beside the evidence "
            "by at least 10 points over the question alone, cost explicit questions and real sets at most 1, and are there 10 times sooner from "
            "a file.",
            _at("clues"),
        ),
        Benchmark(
            "notes",
            "A-MEM, arXiv 2502.12110",
            "Links find the second fact of a question that shares no word with it, later notes make earlier ones found, at no loss for single facts; "
            "contexts are a small share of the history, what is not told is refused, descriptions do not drift, and adding does not slow down.",
            _at("notes"),
        ),
        Benchmark(
            "hypergraph",
            "HGMem, arXiv 2512.23959",
            "Without a language model, a working memory of n-ary points finds at least 10 points more of planted evidence than a flat list in as "
            "many searches and passages, and the strategy at least 8 points more of all evidence on MuSiQue and 2WikiMultihopQA than the foundation; "
            "the graph's part of a turn takes at most 50 ms in 100,000 names.",
            _at("hypergraph"),
        ),
        Benchmark(
            "constructor",
            "Mem-α, arXiv 2509.25911",
            "A small policy, learnt by GRPO from the answers' reward on streams of 20 chunks, answers at least 10 points more than the best rule at "
            "one budget, in at most 75 % of the verbatim store's tokens without one, and loses at most 5 points at 13 times the length.",
            _at("constructor"),
        ),
        Benchmark(
            "access",
            "MemOS, arXiv 2507.03724 (governance)",
            "Random requests of 50 principals to 50 spaces with roles, denials, clearances and rules of single memories show nothing that the rules "
            "do not allow: not by an answer, a count, a score, an error's text or the time of a refusal.",
            _at("access"),
        ),
        Benchmark(
            "updating",
            "MemOS, arXiv 2507.03724 (lifecycle)",
            "With no language model, the current value answers for at least 95 % of 500 facts that have changed, and for as many the old one is "
            "among no ten hits, but in the history of the new one.",
            _at("updating"),
        ),
        Benchmark(
            "summary",
            "MemOS, arXiv 2507.03724 (transformations)",
            "Without a language model, a summary of a long dialogue or meeting keeps more of what people noted of it than its first, its longest or "
            "random sentences do in as many tokens.",
            _at("summary"),
        ),
        Benchmark(
            "redundancy",
            "UNComp, arXiv 2410.03090 (entropy), of embeddings",
            "The more of a space is said again, the lower the entropy of its embeddings; and topics in which something is said again stand above "
            "others.",
            _at("redundancy"),
        ),
        Benchmark(
            "reader",
            "extractive question answering (SQuAD, arXiv 1606.05250), here without a language model",
            "Without a language model, the best span from gold evidence has at least twice the F1 of the first entity or the longest sentence on six "
            "sets, and four of five known names are found, in 100 µs a turn.",
            _at("reader"),
        ),
        Benchmark(
            "scheduler",
            "MemOS, arXiv 2507.03724 (section 5.3)",
            "By measured costs the scheduler serves a drifting Zipf load at least 15 % below LRU and 10 % below LFU, is "
            "never more than 2 % worse than "
            "holding nothing, predicts break-even within one reuse, and builds ahead at least 1.5 times as well as recency.",
            _at("scheduler"),
        ),
        Benchmark(
            "kernel-work",
            "MemOS, arXiv 2507.03724 (sections 5.3 to 5.5)",
            "Durable jobs survive kill -9, at 500 a second; a subscriber has an event of another process within 50 ms "
            "(p99); a pipeline costs at most "
            "1.1 times the same calls by hand; 10,000 memories branch within 5 s; going back to any of 100 versions is bit-equal.",
            _at("kernel_work"),
        ),
        Benchmark(
            "load",
            "MemOS, arXiv 2507.03724 (section 6)",
            "At 100 requests a second for a minute, on 100,000 memories, every request succeeds, 99 % within 463 ms, and every write is found by the "
            "search right after it.",
            _at("load"),
        ),
        Benchmark(
            "card",
            "Memory in LLMs: evaluation, DMM-Gov, arXiv 2509.18868",
            "Answering from memory keeps the survey's acceptance thresholds (recall@5 ≥ 0.85, citation coverage ≥ 0.85, unsupported claims ≤ 0.05, "
            "freshness ≥ 0.80, conflicts ≥ 0.80), measured under equal conditions by an instrument that is checked in the same run.",
            _at("card"),
        ),
        Benchmark(
            "changes",
            "Memory in LLMs: evaluation, DMM-Gov, arXiv 2509.18868",
            "Gates block at least 95 % of harmful updates and at most 10 % of good ones; a canary that does harm is noticed within 200 queries and "
            "rolled back to what a reader met before; at least 95 % of updates are routed by the rule of thirds.",
            _at("changes"),
        ),
        Benchmark(
            "forgetting",
            "Memory in LLMs: evaluation, DMM-Gov, arXiv 2509.18868",
            "Of 100 deletions nothing is found, by words, paraphrases, beginnings or what was derived, in files, exports "
            "or the log, before and after a "
            "restart; the rest is answered at least 98 % as well; no tampered certificate of 1,000 is taken for the one that was written.",
            _at("forgetting"),
        ),
        Benchmark(
            "statistics",
            "Memory in LLMs: evaluation, DMM-Gov, arXiv 2509.18868",
            "95 % intervals clustered by session cover the truth in 93 to 97 % of simulated data sets; Holm's and "
            "Benjamini and Hochberg's corrections "
            "keep 5 %.",
            _at("statistics"),
        ),
        Benchmark(
            "overhead",
            "MemOS, arXiv 2507.03724 (governance)",
            "Roles, denials, labels, rules of single memories, quotas and rates add at most 15 % to an add and 10 % to a search.",
            _at("overhead"),
        ),
        Benchmark(
            "poison",
            "A-MemGuard, arXiv 2510.02373",
            "Without a model, a guard cuts the success of memory poisoning by at least 95 % for at most 5 % of utility, on published poison "
            "(PoisonedRAG without provenance labels, AgentPoison's triggers) and against direct, majority and self-reinforcing attacks; a lesson "
            "stops the same action elsewhere; a decision over ten records takes at most 5 ms.",
            _at("poison"),
        ),
        Benchmark(
            "store",
            "MemOS, arXiv 2507.03724",
            "Durable writes cost at most 1.5 fsyncs beyond their embedding; 100,000 cubes open within 1 s, answer within 15 ms (p50) "
            "and 40 ms (p95), and take at most 1.5 times their text and vectors on disk.",
            _at("store"),
        ),
        Benchmark(
            "sealing",
            "MemOS, arXiv 2507.03724, section 5.5 (governance)",
            "A sealed store costs at most 1.5 times the processor time of a plain one for adds and imports, 1.15 times for "
            "searches, twice for opening "
            "(100,000 cubes within 1 s) and 1.25 times its bytes; at least 5,000 versions a second get new keys.",
            _at("sealing"),
        ),
        Benchmark(
            "sensitivity",
            "MemOS, arXiv 2507.03724, section 5.5 (governance)",
            "Sensitive strings are found in generated texts with hard negatives with recall and precision of at least 0.97, and raise an alarm in at "
            "most 5 of 10,000 turns of real conversations; the time is linear in the text, also for texts made to be slow.",
            _at("sensitivity"),
        ),
        Benchmark(
            "exchange",
            "MemOS, arXiv 2507.03724, section 7 (interchange)",
            "An archive notices every flipped byte, holds no redacted string, and imports over both back ends to a store with the same ten "
            "answers, no slower than JSON lines.",
            _at("exchange"),
        ),
        Benchmark(
            "paging",
            "Paging with succinct predictions, arXiv 2210.02775",
            "On thirteen real traces the default eviction policy never misses more than 2 % above the best of LRU, LFU and S3-FIFO, and on average "
            "3 % less than the best classical policy; bits that are all wrong cost at most 7 % over LRU; a hit costs at most 3 µs and a miss 15 µs; "
            "a KV prefix cache saves at least 5 % more prefill tokens than LRU.",
            _at("paging"),
        ),
        Benchmark(
            "convomem",
            "ConvoMem, arXiv 2511.10523",
            "Over generated histories of 1 to 300 conversations, the reading policy answers at most 1 point less than the best fixed way at no more "
            "than 60 % of the cost of reading everything, never above its budget; a gate keeps invented answers at 150 conversations to 5 %.",
            _at("convomem.benchmark"),
        ),
        Benchmark(
            "program",
            "L2MAC, arXiv 2310.02003",
            "With a window of 2,000 tokens, a program of instructions writes more than fifty windows and meets all of 200 requirements, at least 1.5 "
            "times those of a rolling summary; 1,000 random runs send no request over the window and none that a strict endpoint refuses; errors "
            "that a worker makes with p = 0.3 are all corrected; the control unit takes at most 5 ms a turn.",
            _at("program"),
        ),
        Benchmark(
            "procedures",
            "ReMe, arXiv 2512.10696",
            "Without a language model, procedures that an agent's own runs taught raise its success at unseen tasks of a synthetic tool world by at "
            "least 6 points (pass@1) and 9 (pass@4), more than whole runs do; a pool that goes on learning is no worse, outlives a change of a tool, "
            "stays compact, and lets go of what misleads also where the agent mostly fails.",
            _at("procedures"),
        ),
        Benchmark(
            "concepts",
            "ArcMemo, arXiv 2509.04439",
            "Without a language model, concepts abstracted from verified solutions solve at least 1.075 times as many unseen compositions of "
            "synthetic grids as no memory, at each of three budgets of nodes, and no fewer than whole programs do; updating goes on to help, and "
            "among 300 distractors 0.9 of the needed concepts are selected at a fifth of the tokens.",
            _at("concepts"),
        ),
        Benchmark(
            "ann",
            "SPANN, arXiv 2111.08566; SPFresh, arXiv 2410.14452",
            "A million vectors of 384 dimensions are searched at recall@10 ≥ 0.95 within 3 ms (p50, one core) in 15 % of their memory, as fast as "
            "diskannpy at equal memory and twice as fast as LanceDB's IVF-PQ; replacing every vector once costs at most a point of recall and 1.6 "
            "times the live bytes, an insert at most 10 ms (p99); a filter gives exactly k wherever k exist.",
            _at("ann.run"),
        ),
        Benchmark(
            "arena",
            "vAttention, arXiv 2405.04437",
            "64 GiB of keys and values are reserved within 1 ms and no memory, live sequences waste at most one page group of each tensor, freed "
            "pages return, growth copies nothing, and decoding takes at most 3 % longer than in a tensor allocated beforehand.",
            _at("arena"),
        ),
        Benchmark(
            "scbench",
            "SCBench, arXiv 2412.10319",
            "Twelve generated tasks that an oracle always solves, guessing solves by chance and words alone at most 40 % of; a cache that is used "
            "again gives the logits of recomputing within 1e-4, answers requests in any order alike, and takes at most 0.3 of the time to the first "
            "token at 4K tokens; twelve tasks in two modes by three methods end in 10 minutes; with a model that can read, the paper's findings 1, "
            "2, 5, 6 and 7.",
            _at("scbench.benchmark"),
            {
                "tasks": "Which tasks, with commas between: kv,needle.",
                "mode": "multi-turn, multi-request, or both with a comma.",
                "methods": "full, memory, or a KV policy with its options, with commas between: full,snapkv:share=1/8:aware.",
                "length": "Tokens of a context (512); records that are longer lose their middle.",
                "turns": "Questions on a context (4).",
                "sessions": "Sessions of each task (10; 2 with --quick).",
                "model": "reference, the folder of a model, the address of an OpenAI-compatible server, or memory, which needs no model.",
                "model-name": "The model's name on that server; the key is OPENAI_API_KEY.",
                "records": "A JSON Lines file in the published form, instead of generated sessions.",
                "answers": "What goes into the history: reference answers, or the model's own.",
                "save": "A file for the sessions, one JSON object a line.",
            },
        ),
        Benchmark(
            "kv-shadowkv",
            "ShadowKV, arXiv 2410.21465",
            "Keys before rotation need few directions; near bytes are at most 1/5 of the full cache's at 8K and 1/6 at 122K tokens, a step at 32K is "
            "at least twice as fast as dense attention, at least half of its chunks are near already; at 1/16 of the context at least 98 % of the "
            "full cache's answers are right, and no fewer at the fifth question.",
            _at("kv.shadowkv"),
        ),
        Benchmark(
            "kv",
            "SCBench, arXiv 2412.10319; ShadowKV, arXiv 2410.21465",
            "At an eighth of the full cache's bytes a policy that brings back loses at most 5 points in turns 2 to 5 of one context, and the best "
            "that only evicts at least 10 more.",
            _at("kv.headline"),
        ),
        Benchmark(
            "kv-peers",
            "kvpress, arXiv 2510.00636",
            "Beside kvpress in an environment of its own, on the same model, sessions and shares: the full cache gives the same answers, methods "
            "that drop tokens lose at most 2 points to it on average, and ThinK saves bytes where kvpress only zeroes.",
            _at("kv.peers"),
        ),
        Benchmark(
            "kv-inject",
            "MemOS, arXiv 2507.03724",
            "A context that was read before is injected from disk instead: the same greedy answers, logits within 1e-4, at least 70 % of the time to "
            "the first token saved at 2,048 tokens and a query of 64, and 15 % at 512 and 1,024; a restart between changes nothing.",
            _at("kv.inject"),
        ),
        Benchmark(
            "kv-scenes",
            "MemOS, arXiv 2505.22101 (next-scene prediction)",
            "Texts that a conversation is likely to come to are read ahead in idle time: at least 1.5 times the hits of preloading what was used "
            "last, in the same bytes, and less time to the first token than without; a context that was asked about before takes at most half of the "
            "time to the first token, with the same greedy answers.",
            _at("kv.scenes"),
        ),
        Benchmark(
            "kv-think",
            "ThinK, arXiv 2407.21018",
            "Keys without 40 % of their channels, chosen by queries, cost at most a point of answers, also after tokens were dropped, where they "
            "save a fifth of the bytes; products with half the channels take at most 1 / 1.3 of the time.",
            _at("kv.think"),
        ),
        Benchmark(
            "kv-uncomp",
            "UNComp, arXiv 2410.03090",
            "Entropy of heads says which need more (rank correlation of at least 0.4), budgets by it answer as well as equal ones at 1/16 and 1/20, "
            "5 points better than reversed and 2 than random ones; reading in stages saves 6 % of operations and time for a point of answers; two "
            "samples agree on 85 % of heads; 5 times the sequences fit.",
            _at("kv.uncomp"),
        ),
        Benchmark(
            "kv-landmark",
            "Landmark Attention, arXiv 2305.16300",
            "Blocks without training lose at most 5 points in turns 2 to 5 at an eighth of the full cache's bytes; a decoding step with landmarks at "
            "16K tokens is at least three times as fast as dense attention; no level of selection answers more than each head for each token, within "
            "noise.",
            _at("kv.landmark"),
        ),
        Benchmark(
            "kv-memorag",
            "MemoRAG, arXiv 2409.05591",
            "Memory tokens take ⌊n/w⌋·w/r positions and lose nothing where nothing is compressed; at ratio 4 and eight windows at least 0.9 of full "
            "attention's answers are right, 40 points more than with a sliding window of as many positions; what a small model recalls leads to "
            "evidence that the question does not name, 10 points above dense and BM25; a loaded memory answers 10 times as soon as one made anew.",
            _at("kv.memorag"),
        ),
        Benchmark(
            "landmark",
            "Landmark attention, arXiv 2305.16300",
            "Models that learnt landmarks, a small one from nothing on 256 tokens and the reference model on 512 words, find at least 95 % of notes "
            "in 1,024 and 4,096 and 90 % in 16,384 by two blocks a query, attending to less than 5 % of them; landmarks find 97 % of the blocks, "
            "without them at most half of the notes are found, and 20 points fewer at true positions.",
            _at("landmark"),
        ),
        Benchmark(
            "kv-lazyeviction",
            "LazyEviction, arXiv 2506.15969",
            "Of tokens that come back after gaps of about 150 steps, at least 90 % are still held at a budget of 200, 15 points more than with RaaS "
            "and 40 more than with H2O in the same window; half the cache loses at most 2 points of long chains of sums, and 5 points more are right "
            "than with H2O, TOVA and a window, as with 30 %; tracking and evicting take at most 15 % of a decoding step.",
            _at("kv.lazyeviction"),
        ),
    )
}


def find(name: str) -> Benchmark:
    """The benchmark of that name. Raises `NotFound`, listing the names."""
    if name not in BENCHMARKS:
        raise NotFound(f"no benchmark is named {name!r}; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
