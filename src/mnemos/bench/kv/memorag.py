"""`mnemos bench kv-memorag`: memory tokens that stand for windows of what a model has read (MemoRAG, arXiv 2409.05591)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from mnemos.activation.beacon import reference as trained
from mnemos.activation.beacon import saving, tiny
from mnemos.activation.beacon.asking import Prompts
from mnemos.activation.beacon.beacons import Beacons
from mnemos.activation.beacon.library import Library
from mnemos.activation.beacon.scoring import Asked, Score, compressed, score
from mnemos.activation.beacon.tiny import lines
from mnemos.activation.beacon.windows import Windows
from mnemos.activation.memory import KVMemory
from mnemos.activation.policies import policy
from mnemos.base.errors import ModelUnavailable
from mnemos.base.stats import bootstrap_difference
from mnemos.bench.baselines import Bm25, rank_dense
from mnemos.bench.embedding import CountingEmbedder, vector_folder
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.threads import one_thread
from mnemos.index.lexical import LexicalIndex
from mnemos.index.terms import pack_terms
from mnemos.kernel.kv.recalling import CompressedMemory
from mnemos.models import reference
from mnemos.models.local.model import LocalModel
from mnemos.models.minilm import MiniLM
from mnemos.models.reference import language, tasks
from mnemos.text.clues.evidence import Hit, gather
from mnemos.text.clues.statistical import StatisticalMemory

LOSSLESS, SHARE, OVER_WINDOW, IMPLICIT, EXPLICIT, FASTER = 1e-4, 0.9, 0.4, 0.10, -0.01, 10.0
WINDOW, RATIOS, K = 64, (2, 4, 8, 16), 9
COMPACT = Prompts(recall="<q> key {question} <a>", rewrite="", answer="<q> key {question} <a>", summarise="")
NOTES = (
    "Lossless parts and sizes: a Llama with random weights, whose memory tokens are untrained. Positions and bytes are those of the tensors held.",
    "Recall: a decoder of 4 layers and width 128 of the package, trained with its memory tokens in minutes on other texts of the same kind, from "
    "weights made so that look-ups work (page docs/kv/memorag.md); texts of eight windows of 32 tokens, questions asked one by one of one memory. "
    "The same is told of the reference model, with eight windows of 64 tokens; clues and reuse are its, too.",
    "Sliding window: as many positions as the memory takes at that ratio, the newest. Perplexity: of the words of answers.",
    "Windows read in parallel see nothing of one another; recall of the tiny decoder, on the same texts. Seconds: 4,096 tokens memorised by it, 128 "
    "windows, one thread, groups in turn, the median of the ratios of rounds.",
    "Clues: lines of a made-up register; an implicit question names an entry by a byname that stands in another line than what is asked. HyDE-like: "
    "vectors of the question and of the three lines nearest to it, averaged. Seconds are of the processor.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts; those that need trained memory tokens only where these are there."""
    parts: list[Callable[[Options], Measured]] = [lossless, size]
    notes = [*NOTES]
    for needed, more in (((tiny.folder,), [recall, parallel]), ((trained.folder, reference.folder), [reference_recall, clues, reuse])):
        try:
            for folder in needed:
                folder()
            parts += more
        except ModelUnavailable as error:
            notes.append(f"Not measured ({', '.join(part.__name__ for part in more)}): {error}")
    with one_thread():
        return in_parts(benchmark, options, parts, notes)


def _random(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                         max_position_embeddings=4096, initializer_range=0.15, eos_token_id=None)  # fmt: skip
    return LlamaForCausalLM(config).eval()


# ---- 1: lossless ----------------------------------------------------------------------------------------------------


def lossless(options: Options) -> Measured:
    """Windows that stay as they are, windows that are not full, saving, batches, and reading in two goes."""
    model, rng = _random(options.seed), options.rng()
    beacons, away, same, bits, batch, goes, n = Beacons(model), [], [], [], [], [], 4 if options.quick else 20
    for _ in range(n):
        ids = torch.from_numpy(rng.integers(512, size=(2, int(rng.integers(300, 512 - _GENERATED)))))  # 512 tokens would fill a window
        with torch.no_grad():
            full = model(ids, cache=(cache := DynamicCache(config=model.config))).logits
            for windows in (Windows(WINDOW, None), Windows(512, 4)):
                memory = beacons.memory(windows)
                found = model(ids, cache=memory).logits
                away.append(float((found - full).abs().max()))
                same.append(_greedy(model, memory, found) == _greedy(model, cache, full))
                cache.crop(-_GENERATED)
            memory, singles = beacons.memory(Windows(WINDOW, 4)), [beacons.memory(Windows(WINDOW, 4)) for _ in range(2)]
            both = model(ids, cache=memory).logits
            alone = [model(ids[row : row + 1], cache=single).logits for row, single in enumerate(singles)]
            batch.append(max(float((both[row] - one[0]).abs().max()) for row, one in enumerate(alone)))
            back = saving.load(beacons, saving.dump(memory, "random"), "random")
            last = ids[:, :9]
            bits.append(_tensors(back) == _tensors(memory) and torch.equal(model(last, cache=back).logits, model(last, cache=memory).logits))
            twice = beacons.memory(Windows(WINDOW, 4))
            border = ids.shape[1] // (2 * WINDOW) * WINDOW
            parts = [model(piece, cache=twice).logits for piece in (ids[:, :border], ids[:, border:])]
            goes.append(float((torch.cat(parts, 1) - both).abs().max()))
    beacons.remove()
    return [
        Check("largest difference of a logit to full attention, nothing compressed or no window full", max(away), LOSSLESS, at_least=False, n=2 * n),
        Check(f"answers of {_GENERATED} greedy tokens that are the same", float(np.mean(same)), 1.0, n=2 * n),
        Check("memories that are the same bits after saving and loading, and go on so", float(np.mean(bits)), 1.0, n=n),
        Check("largest difference of a logit, two rows together and one by one", max(batch), LOSSLESS, at_least=False, n=n),
        Check("largest difference of a logit, memorised at once and in two goes", max(goes), LOSSLESS, at_least=False, n=n),
    ], {}


_GENERATED = 32


def _greedy(model: Any, cache: Any, logits: torch.Tensor) -> list[list[int]]:
    chosen = []
    for _ in range(_GENERATED):
        best = logits[:, -1].argmax(-1, keepdim=True)
        chosen.append(best[:, 0].tolist())
        logits = model(best, cache=cache).logits
    return chosen


def _tensors(memory: Any) -> list[bytes]:
    return [tensor.numpy().tobytes() for layer in memory.layers for tensor in (*layer.remembered, *layer.tail)]


# ---- 2: size --------------------------------------------------------------------------------------------------------


def size(options: Options) -> Measured:
    """Positions and bytes of every layer, for lengths within, at and beyond borders of windows."""
    model, rows, wrong, n = _random(options.seed), {}, 0, 0
    beacons = Beacons(model)
    each = 2 * model.config.num_key_value_heads * model.config.head_dim * 4  # keys and values of a position, float32
    for length in (50, 64, 700, 2000):
        for ratio in (2, 4, 8, 16, 32):
            memory = beacons.memory(Windows(WINDOW, ratio))
            with torch.no_grad():
                model.base_model(input_ids=torch.randint(512, (1, length)), cache=memory, use_cache=True)
            held = length // WINDOW * WINDOW // ratio + length % WINDOW
            for layer in memory.layers:
                n += 1
                stands = layer.remembered[0].shape[2] + layer.tail[0].shape[2]
                wrong += stands != held or layer.nbytes().near != held * each
            if length == 2000:
                rows[f"ratio {ratio}"] = {"positions": held, "bytes": memory.nbytes().near, "of the full cache": memory.nbytes().near / (
                    length * each * len(memory.layers))}  # fmt: skip
    beacons.remove()
    return [Check("layers whose positions or bytes are not ⌊n/w⌋·w/r + tail", float(wrong), 0.0, at_least=False, n=n)], {"2,000 tokens": rows}


# ---- 3: recall ------------------------------------------------------------------------------------------------------


def recall(options: Options) -> Measured:
    """Keys and values at eight windows, of a tiny decoder trained with its memory tokens: by ratio, of the full cache, and of a sliding window of as
    many positions."""
    texts = lines.asked(8 * tiny.WINDOW, 20 if options.quick else 60, 1000 + options.seed)
    found = _by_ratio(tiny.load(), tiny.WINDOW, texts)
    clusters = [number for number, one in enumerate(texts) for _ in one.questions]
    full, four, window = (np.array(found[name].right, dtype=float) for name in (_FULL, "ratio 4", _SLIDING.format(4)))
    less, over = (bootstrap_difference(four, other, clusters, options.rng()) for other in (full, window))
    perplexities = [found[f"ratio {ratio or 'none'}"].perplexity for ratio in (None, *RATIOS)]
    two_losses, four_losses = (np.array(found[f"ratio {ratio}"].losses) for ratio in (2, 4))  # an answer is one word
    falls = sum(later < earlier for earlier, later in pairwise(perplexities))
    return [
        Check("recall at ratio 4 ÷ full attention, n = 8 w", float(four.mean() / full.mean()), SHARE, baseline=float(full.mean()), n=len(four)),
        Check.of("recall at ratio 4 − full attention", less, baseline=float(full.mean())),
        Check.of("recall at ratio 4 − sliding window of as many positions", over, OVER_WINDOW, baseline=float(window.mean())),
        Check("ratios at which perplexity falls, from none to 16", float(falls), 0.0, at_least=False, n=len(RATIOS)),
        Check.of("loss of an answer at ratio 4 − at ratio 2", bootstrap_difference(four_losses, two_losses, clusters, options.rng())),
    ], {"recall of the tiny decoder": _table(found)}


def parallel(options: Options) -> Measured:
    """What windows that are read without sight of each other cost in recall, and save in seconds."""
    texts = lines.asked(8 * tiny.WINDOW, 20 if options.quick else 60, 1000 + options.seed)
    clusters = [number for number, one in enumerate(texts) for _ in one.questions]
    beacons = tiny.load()
    found = {group: compressed(beacons, Windows(tiny.WINDOW, 4, parallel=group), texts) for group in (1, 2, 4, 8)}
    ids = torch.from_numpy(options.rng().integers(lines.FIRST_KEY, lines.WORDS, size=(1, 128 * tiny.WINDOW)))
    rounds: dict[int, list[float]] = {group: [] for group in (1, 8, 128)}
    for _ in range(3 if options.quick else 15):
        for group, took in rounds.items():
            start = time.process_time()
            with torch.no_grad():
                beacons.model.base_model(input_ids=ids, cache=beacons.memory(Windows(tiny.WINDOW, 4, parallel=group)), use_cache=True)
            took.append(time.process_time() - start)
    beacons.remove()
    one = np.array(found[1].right, dtype=float)
    checks = []
    for group in (2, 4, 8):
        less = bootstrap_difference(np.array(found[group].right, dtype=float), one, clusters, options.rng())
        checks.append(Check.of(f"recall at ratio 4, {group} windows in parallel − one after the other", less, baseline=float(one.mean())))
    for group in (8, 128):
        ratios = np.array(rounds[group]) / np.array(rounds[1])
        checks.append(Check(f"seconds to memorise, {group} windows in parallel ÷ one after the other", float(np.median(ratios)), n=len(ratios)))
    return checks, {"windows in parallel": {f"{group}": score.described() for group, score in found.items()}}


def reference_recall(options: Options) -> Measured:
    """The same of the reference model, whose own weights were not trained with its memory tokens: the sheet has no bound for that."""
    model, _ = reference.load()
    texts = trained.asked(trained.recall_sessions(WINDOW, 8 if options.quick else 40, f"bench {options.seed}"))
    found = _by_ratio(trained.load(model), WINDOW, texts)
    clusters = [number for number, one in enumerate(texts) for _ in one.questions]
    full, four, window = (np.array(found[name].right, dtype=float) for name in (_FULL, "ratio 4", _SLIDING.format(4)))
    less, over = (bootstrap_difference(four, other, clusters, options.rng()) for other in (full, window))
    return [
        Check.of("reference model, recall at ratio 4 − full attention", less, baseline=float(full.mean())),
        Check.of("reference model, recall at ratio 4 − sliding window of as many positions", over, baseline=float(window.mean())),
    ], {"recall of the reference model": _table(found)}


_FULL, _SLIDING = "full attention", "sliding window as at {}"


def _by_ratio(beacons: Beacons, size: int, texts: Sequence[Asked]) -> dict[str, Score]:
    """The scores at every ratio, of full attention, and of sliding windows of as many positions; memory tokens leave their model."""
    found = {f"ratio {ratio or 'none'}": compressed(beacons, Windows(size, ratio), texts) for ratio in (None, *RATIOS)}
    model = beacons.model
    beacons.remove()
    found[_FULL] = _plain(model, texts, "full")
    for ratio in RATIOS[:3]:
        found[_SLIDING.format(ratio)] = _plain(model, texts, "window", tokens=Windows(size, ratio).positions(len(texts[0].text)))
    return found


def _plain(model: Any, texts: Iterable[Asked], name: str, **settings: Any) -> Score:
    """The score through a cache of a policy."""
    return score(model, lambda: KVMemory.of(model, policy(name, **settings)), texts, lambda memory: memory.fork())


def _table(found: dict[str, Score]) -> dict[str, dict[str, float]]:
    return {name: one.described() for name, one in found.items()}


# ---- 4: clues -------------------------------------------------------------------------------------------------------


class Register(NamedTuple):
    """Lines, with questions: what is asked, the line that holds the answer, and whether the question names it itself."""

    lines: list[str]
    asked: list[tuple[str, int, bool]]


def register(seed: int | str, lines: int = 84, entries: int = 20) -> Register:
    """Entries of which one line tells the byname and another what belongs to it, among lines of both kinds that lead nowhere."""
    rng = Random(f"register {seed}")
    pairs: dict[tuple[str, str], None] = {}
    while len(pairs) < 3 * lines:
        pairs[rng.choice(language.SYMBOLS), rng.choice(language.SYMBOLS)] = None
    names = iter(pairs)
    told = [(next(names), next(names), next(names)) for _ in range(entries)]
    texts = [(byname, entry) for byname, entry, _ in told] + [(entry, value) for _, entry, value in told]
    texts += [(next(names), next(names)) for _ in range(lines - len(texts))]
    order = rng.sample(range(lines), lines)
    place = {number: at for at, number in enumerate(order)}
    asked = [(" ".join(byname), place[entries + at], False) for at, (byname, _, _) in enumerate(told)]
    asked += [(" ".join(entry), place[entries + at], True) for at, (_, entry, _) in enumerate(told)]
    return Register([" ".join([*texts[number][0], ":", *texts[number][1], ";"]) for number in order], asked)


def clues(options: Options) -> Measured:
    """Evidence among nine lines: by the question alone, by HyDE-like expansion, and by clues of the statistical and of the compressed memory."""
    module, tokenizer = reference.load()
    beacons, model = trained.load(module), LocalModel(module, tokenizer)
    start = model.encode("<s>", special=False)
    embedder = CountingEmbedder(MiniLM(), vector_folder())
    kinds: list[bool] = []
    clusters: list[int] = []
    found: dict[str, list[float]] = {}
    for number in range(2 if options.quick else 10):
        world = register(f"{options.seed} {number}")
        ways = _ways(world, model, Library(beacons, Windows(WINDOW, 4), first=start), embedder)
        asked = world.asked if not options.quick else world.asked[::2]
        for question, evidence, explicit in asked:
            kinds.append(explicit)
            clusters.append(number * len(world.lines) + evidence)
            for name, way in ways.items():
                found.setdefault(name, []).append(float(evidence in way(question)))
    beacons.remove()
    rows = {name: np.array(values) for name, values in found.items()}
    checks = []
    for label, chosen, bound in (("implicit", ~np.array(kinds), IMPLICIT), ("explicit", np.array(kinds), EXPLICIT)):
        some = [cluster for cluster, one in zip(clusters, chosen, strict=True) if one]
        for name in ("dense", "BM25", "HyDE-like"):
            gain = bootstrap_difference(rows["compressed memory"][chosen], rows[name][chosen], some, options.rng())
            metric, baseline = f"{label} questions, evidence recall@{K}, compressed memory − {name}", float(rows[name][chosen].mean())
            checks.append(Check.of(metric, gain, bound if name != "HyDE-like" else None, baseline=baseline))
    named = np.array(kinds)
    table = {name: {"implicit": float(row[~named].mean()), "explicit": float(row[named].mean())} for name, row in rows.items()}
    return checks, {f"evidence recall@{K}": table}


def _ways(world: Register, model: LocalModel, library: Library, embedder: CountingEmbedder) -> dict[str, Callable[[str], list[int]]]:
    """The first `K` lines by every way to search."""
    vectors, bm25 = embedder.embed(world.lines), Bm25(world.lines)
    words = LexicalIndex()
    words.append([pack_terms(text) for text in world.lines])
    compressed, statistical = CompressedMemory(model, library, COMPACT, tokens=8), StatisticalMemory()
    for memory in (compressed, statistical):
        memory.memorise("register", " ".join(world.lines))

    def lexical(text: str, k: int) -> list[Hit[int]]:
        said = words.search(text)
        best = np.argsort(-said.bm25, kind="stable")[:k]
        return [Hit(at, world.lines[at], float(said.coverage[at])) for at in best.tolist() if said.bm25[at] > 0]

    def hypothetical(question: str) -> list[int]:
        vector = embedder.embed([question])[0]
        mean = vector + vectors[rank_dense(vectors, vector, 3)].sum(axis=0)
        return rank_dense(vectors, mean / np.linalg.norm(mean), K)

    return {
        "dense": lambda question: rank_dense(vectors, embedder.embed([question])[0], K),
        "BM25": lambda question: bm25.rank(question, K),
        "HyDE-like": hypothetical,
        "statistical memory": lambda question: [one.item for one in gather(question, statistical.clues(question), lexical, k=K).evidence],
        "compressed memory": lambda question: [one.item for one in gather(question, compressed.clues(question), lexical, k=K).evidence],
    }


# ---- 5: reuse -------------------------------------------------------------------------------------------------------


def reuse(options: Options) -> Measured:
    """A memory of 8,192 tokens that is loaded and asked, against one that is made and asked."""
    module, tokenizer = reference.load()
    beacons, model = trained.load(module), LocalModel(module, tokenizer)
    name, rounds = saving.fingerprint(beacons), 3 if options.quick else 9
    session = tasks.make("kv", 8192 + 12, 1, options.seed)
    context, question = language.encode(session.context), language.encode(session.turns[0].question)
    took: dict[str, list[float]] = {"made": [], "loaded": []}
    said = []
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:
        path = Path(home, "memory")
        memory = beacons.memory(Windows(WINDOW, 4))
        model.prefill(context, memory, chunk=2048)
        path.write_bytes(saving.dump(memory, name))
        for _ in range(rounds):
            start = time.process_time()
            made = beacons.memory(Windows(WINDOW, 4))
            model.prefill(context, made, chunk=2048)
            said.append(model.generate(question, made, max_tokens=4).run()[0].tokens)
            between = time.process_time()
            loaded = saving.load(beacons, path.read_bytes(), name)
            said.append(model.generate(question, loaded, max_tokens=4).run()[0].tokens)
            took["made"].append(between - start)
            took["loaded"].append(time.process_time() - between)
        nbytes = path.stat().st_size
    beacons.remove()
    made_s, loaded_s = (float(np.median(values)) for values in took.values())
    return [
        Check(f"{len(context):,} tokens, memorised and asked ÷ loaded and asked (seconds)", made_s / loaded_s, FASTER, n=rounds),
        Check("answers that are the same", float(all(one == said[0] for one in said)), 1.0, n=len(said)),
    ], {"reuse": {"8,192 tokens": {"made ms": 1e3 * made_s, "loaded ms": 1e3 * loaded_s, "bytes": nbytes, "positions": memory.held()[0]}}}
