"""`mnemos bench kv-inject`: a context that was read before is taken from the disk instead of being read again (MemOS, arXiv 2507.03724, table 6).

The model is a Llama with random weights: how long reading and generating take does not hang on what the weights are. Full prompt and injection take
turns, so that the machine is the same for both.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mnemos.activation.fragments import Fragment, put_together
from mnemos.activation.memory import KVMemory
from mnemos.activation.prefix_places import Folder
from mnemos.activation.prefixes import PrefixStore
from mnemos.base.errors import ModelUnavailable
from mnemos.base.stats import bootstrap_ratio
from mnemos.bench.parts import Measured, in_parts
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.threads import one_thread
from mnemos.models import reference
from mnemos.models.local.model import LocalModel
from mnemos.models.reference import language, tasks

VOCABULARY = 2048
FINGERPRINT = "random"
LOSSLESS, AGREED, SAVED, SAVED_SHORT, BLENDED = 1e-4, 0.99, 0.70, 0.15, 0.5
"""Largest difference of a logit in float32; least share of tokens after which a model in bfloat16 expects the same; least share of the time to the
first token that is saved at 2,048 + 64 tokens, and at 512 + 1,024; and what reading 15 % of the tokens again may leave of the divergence of
fragments put together."""
SHARES = (0.05, 0.15, 0.3, 0.5)
NOTES = (
    "Time to the first token: from having the tokens to the largest logit of the last one. Injected: found in the store, read from its files and "
    "checked against their digests, copied, and the query read. Files are in the page cache, as after any recent use. Torch has one thread.",
    "`build` is what storing costs beside reading the context, which the first use does anyway.",
)


@dataclass(frozen=True)
class Sizes:
    """Pairs of context and query whose answers are compared, tokens that are generated after each, timed rounds of each kind, and sessions of each of
    three tasks that are put together of fragments."""

    pairs: int = 20
    generated: int = 64
    rounds: int = 15
    sessions: int = 20


QUICK = Sizes(pairs=6, generated=64, rounds=5, sessions=4)
GRID = ((2048, 64), (512, 1024))
PORTION = 64
"""Tokens of a portion, where prompts are read in portions: as many as a chunk of a prompt that a store keeps."""


def model_of(seed: int, width: int = 256, layers: int = 4) -> LlamaForCausalLM:
    """A Llama of that width with 8 query heads, 4 key-value heads, and random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=VOCABULARY, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, num_attention_heads=8,
                         num_key_value_heads=4, max_position_embeddings=8192, initializer_range=0.1, eos_token_id=None)  # fmt: skip
    return LlamaForCausalLM(config).eval()


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures all parts."""
    with one_thread():
        return in_parts(benchmark, options, (lossless, half_precision, time_to_first_token, fragments), NOTES)


def lossless(options: Options) -> Measured:
    """Random pairs of context and query, each context stored, the store opened again, injected, and compared with the full prompt."""
    sizes, rng, model = QUICK if options.quick else Sizes(), options.rng(), model_of(options.seed)
    differences, same, changed = [], 0, 0
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:
        for _ in range(sizes.pairs):
            context = rng.integers(VOCABULARY, size=int(rng.integers(64, 700))).tolist()
            prompt = [*context, *rng.integers(VOCABULARY, size=int(rng.integers(8, 100))).tolist()]
            PrefixStore(home, FINGERPRINT).put(context, _read(model, context))
            store = PrefixStore(home, FINGERPRINT)  # as after a restart
            before = _files(store)
            memory, known = store.take(model, prompt)
            logits = _logits(model, memory, prompt[known:])
            full = _read(model, [])
            right = _logits(model, full, prompt)
            differences.append(float((logits - right).abs().max()))
            same += _greedy(model, memory, logits, sizes.generated) == _greedy(model, full, right, sizes.generated)
            changed += before != _files(store)
    n = sizes.pairs
    return [
        Check("largest difference of a logit, injected and full prompt", max(differences), LOSSLESS, at_least=False, n=n),
        Check(f"answers of {sizes.generated} greedy tokens that are the same", same / n, 1.0, n=n),
        Check("stores whose files a use has changed", float(changed), 0.0, at_least=False, n=n),
    ], {}


def half_precision(options: Options) -> Measured:
    """The same of models in bfloat16: after each token of a question that follows the context, the token that they expect next. There the last bits
    of attention hang on how many tokens are read at once, and of random weights many tokens are expected about as much as the first. So both prompts
    are also read in portions (`LocalModel(portion=…)`), and the reference model, which knows what comes, is asked, too, where it is there."""
    sizes, rng = QUICK if options.quick else Sizes(), options.rng()

    def pair() -> tuple[list[int], list[int]]:
        return rng.integers(VOCABULARY, size=int(rng.integers(64, 700))).tolist(), rng.integers(VOCABULARY, size=int(rng.integers(8, 100))).tolist()

    pairs = [pair() for _ in range(sizes.pairs)]
    checks = [_agreed("random weights", model_of(options.seed), pairs),
              _agreed(f"random weights, read in portions of {PORTION}", model_of(options.seed), pairs, PORTION)]  # fmt: skip
    try:
        known = reference.load()[0]
    except ModelUnavailable:
        return checks, {}
    made = [tasks.make("kv", 600, 5, options.seed + 700 + number) for number in range(sizes.pairs)]
    asked = [language.encode([word for turn in session.turns for word in (*turn.question, *turn.answer)]) for session in made]
    contexts = [language.encode(session.context) for session in made]
    return [*checks, _agreed("the reference model", known, list(zip(contexts, asked, strict=True)))], {}


def _agreed(name: str, module: Any, pairs: Sequence[tuple[list[int], list[int]]], portion: int | None = None) -> Check:
    """Of pairs of a context and what follows it: after each token of that."""
    model, same = LocalModel(module.to(torch.bfloat16), portion=portion), []
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:
        for context, asked in pairs:
            read = model.prefill(context, KVMemory.of(model.module)).cache
            PrefixStore(home, FINGERPRINT, portion=portion or 1).put(context, read)
            memory, _ = PrefixStore(home, FINGERPRINT, portion=portion or 1).take(model.module, [*context, *asked])
            [right] = model.logits([*context, *asked], KVMemory.of(model.module))
            [found] = model.logits([*context, *asked][memory.get_seq_length() :], memory)
            same += (found[-len(asked) :].argmax(-1) == right[-len(asked) :].argmax(-1)).float().tolist()
    share = float(np.mean(same))
    return Check(f"tokens after which a model in bfloat16 expects the same, injected and full prompt ({name})", share, AGREED, n=len(same))


def time_to_first_token(options: Options) -> Measured:
    """A long context with a short query, and a short one with a long query."""
    sizes, rng, model = QUICK if options.quick else Sizes(), options.rng(), model_of(options.seed)
    checks: list[Check] = []
    rows: dict[str, Any] = {}
    for context_length, query_length in GRID:
        full, injected, build = np.zeros(sizes.rounds), np.zeros(sizes.rounds), np.zeros(sizes.rounds)
        nbytes = 0
        with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home:
            for turn in range(sizes.rounds):
                context = rng.integers(VOCABULARY, size=context_length).tolist()
                prompt = [*context, *rng.integers(VOCABULARY, size=query_length).tolist()]
                memory = _read(model, context)
                store = PrefixStore(Path(home, str(turn)), FINGERPRINT)
                build[turn] = _seconds(partial(store.put, context, memory))
                nbytes = store.nbytes
                full[turn] = _seconds(partial(_first, model, prompt))
                injected[turn] = _seconds(partial(_first, model, prompt, store))
        ratio = bootstrap_ratio(injected, full, range(sizes.rounds), rng)
        saved = replace(ratio, value=1 - ratio.value, low=1 - ratio.high, high=1 - ratio.low)
        threshold = SAVED if (context_length, query_length) == GRID[0] else SAVED_SHORT
        checks.append(Check.of(f"time to first token saved, context {context_length:,}, query {query_length:,}", saved, threshold))
        rows[f"{context_length:,} + {query_length:,}"] = {
            "full ms": 1e3 * float(np.median(full)), "injected ms": 1e3 * float(np.median(injected)), "build ms": 1e3 * float(np.median(build)),
            "saved": saved.value, "break-even uses": _break_even(build, full, injected), "MB on disk": nbytes / 1e6,
        }  # fmt: skip
    return checks, {"time to the first token": rows}


def fragments(options: Options) -> Measured:
    """Four fragments that the reference model has read one by one, put together: how far what it expects of a question and its answer is from what it
    expects after reading all of it, with the keys turned to their places, and with some tokens read again. Nothing where the model is not there."""
    try:
        model, _ = reference.load()
    except ModelUnavailable:
        return [Check("mean divergence with 15 % read again ÷ without (the reference model is not there)", float("nan"), BLENDED, at_least=False)], {}
    away: dict[str, list[float]] = {name: [] for name in ("turned", *(f"{share:.0%} read again" for share in SHARES))}
    right = dict.fromkeys(away, 0)
    numbers = range((QUICK if options.quick else Sizes()).sessions)
    made = [tasks.make(name, 512, 1, options.seed + 500 + number) for name in ("kv", "needle", "copy") for number in numbers]
    for session in made:
        turn = session.turns[0]
        ids, asked = language.encode(session.context), language.encode([*turn.question, *turn.answer])
        expected = _expected(model, _read(model, ids), asked)
        parts = [ids[start : start + len(ids) // 4 + 1] for start in range(0, len(ids), len(ids) // 4 + 1)]
        pieces = [Fragment(tuple(part), _read(model, part), head=1) for part in (parts[0], *([ids[0], *part] for part in parts[1:]))]
        for name, share in zip(away, (0.0, *SHARES), strict=True):
            memory = put_together(model, pieces, "blended" if share else "rerotated", share)
            found = _expected(model, memory, asked)
            away[name].append(float((expected.exp() * (expected - found)).sum(-1).mean()))
            answer = torch.tensor(asked[-len(turn.answer) :])
            right[name] += bool((found[-len(turn.answer) - 1 : -1].argmax(-1) == answer).all())
    ratio = bootstrap_ratio(away["15% read again"], away["turned"], range(len(made)), options.rng())
    rows = {name: {"mean divergence": float(np.mean(each)), "answers right": right[name] / len(made)} for name, each in away.items()}
    return [Check.of("mean divergence with 15 % read again ÷ without", ratio, BLENDED, at_least=False)], {"four fragments put together": rows}


def _expected(model: Any, memory: KVMemory, tokens: list[int]) -> Tensor:
    """[t, V]: log-probabilities of what follows each token."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([tokens]), cache=memory).logits[0], -1)


def _break_even(build: NDArray[np.float64], full: NDArray[np.float64], injected: NDArray[np.float64]) -> float:
    """Uses after which storing has paid."""
    saved = float(np.median(full) - np.median(injected))
    return float(np.ceil(np.median(build) / saved)) if saved > 0 else float("inf")


def _seconds(what: Callable[[], Any]) -> float:
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def _read(model: Any, tokens: list[int]) -> KVMemory:
    memory = KVMemory.of(model)
    if tokens:
        _logits(model, memory, tokens)
    return memory


def _first(model: Any, prompt: list[int], store: PrefixStore | None = None) -> int:
    """The first token after a prompt, of which the store holds some, or none."""
    memory, known = (KVMemory.of(model), 0) if store is None else store.take(model, prompt)
    return int(_logits(model, memory, prompt[known:]).argmax())


def _logits(model: Any, memory: KVMemory, tokens: list[int]) -> Tensor:
    """[V]: those after the last token."""
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([tokens]), cache=memory, logits_to_keep=1).logits[0, -1]
    return logits


def _greedy(model: Any, memory: KVMemory, logits: Tensor, count: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(logits.argmax()))
        logits = _logits(model, memory, chosen[-1:])
    return chosen


def _files(store: PrefixStore) -> dict[str, bytes]:
    assert isinstance(store.place, Folder)
    return {path.name: path.read_bytes() for path in store.place.path.iterdir()}
