"""Running what was asked for: any model, any methods, any tasks or a file of sessions, on one table; nothing is judged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from mnemos.base.errors import Invalid, ModelUnavailable, NotFound
from mnemos.base.meter import Seconds, machine
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.bench.scbench import pareto
from mnemos.bench.scbench.choosing import FULL, LENGTH, MEMORY, REFERENCE_MODEL, Choice, Way
from mnemos.bench.scbench.clients import ChatClient, Client
from mnemos.bench.scbench.curves import answered, by_method, label, mastered, mean, rows_of, score_table, system_table, transposed
from mnemos.bench.scbench.harness import SessionResult, run_session
from mnemos.bench.scbench.memory_client import MemoryClient
from mnemos.bench.scbench.records import COMPACT, TEXT, Record, read_records
from mnemos.bench.scbench.tasks import generate
from mnemos.bench.scbench.truncation import truncate_middle
from mnemos.text.tokens import count_tokens

SEED = 1000
EIGHTH = 1 / 8
SIDE_BY_SIDE = 4
"""Methods whose costs stand in columns; more stand in rows."""


@dataclass(frozen=True)
class Tier:
    """What a model gives to a run: a client for each way, the rendering that it reads, and its count of tokens. `longest` context that it takes."""

    client: Callable[[Way], Client]
    rendering: str = TEXT
    count: Callable[[str], int] = count_tokens
    longest: int | None = None


def run(benchmark: Benchmark, options: Options) -> Result:
    """Measures what `options.own` asks for. Raises `Invalid`, `NotFound` and `ModelUnavailable`."""
    clock, rng = Seconds(), options.rng()
    choice = Choice.of(options.own, options.quick)
    tier = tier_of(choice)
    clients = [tier.client(way) for way in choice.ways]
    sessions = list(records_of(choice, tier, options.seed))
    results = _results(clients, sessions, choice, options.say)
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    for mode in choice.modes:
        its = [result for result in results if result.mode == mode]
        full = [result for result in its if result.method == "full cache"]
        counted = mastered(full) if full else None
        for name, some in by_method(its).items():
            checks.append(Check.of(f"{name}, {mode}: score over all turns", mean(rows_of(some), rng)))
        tables[f"{mode}: scores"] = score_table(its, rng, counted)
        costs = system_table(its)
        tables[f"{mode}: costs"] = costs if len(clients) <= SIDE_BY_SIDE else transposed(costs)
        points = pareto.points(its, rng, counted)
        tables[f"{mode}: front"] = pareto.table(points) if len(points) > 1 else {}
        if full:
            tables[f"{mode}: what the full cache answers"] = {kind: {"answered": value} for kind, value in answered(full).items()}
    details = {
        "tables": tables, "asked": choice.as_json(), "quick": options.quick, "seed": options.seed,
        "templates": {label(result): result.template for result in results},
        "notes": ["Measured as asked; no bound is judged. Scores with their 95 % interval over sessions: the bootstrap's; of fewer than 5, and of "
                  "equal ones, Wilson's with each session as one."],
    }  # fmt: skip
    claim = f"{len(sessions)} sessions of {', '.join(sorted({record.task for record in sessions}))} on {choice.model}."
    return Result.of(benchmark.name, benchmark.paper, claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def _results(clients: Sequence[Client], sessions: Sequence[Record], choice: Choice, say: Callable[[str], None]) -> list[SessionResult]:
    """All sessions by all clients in all modes; each is saved as soon as it is there, where a file is named."""
    out: list[SessionResult] = []
    file = choice.save.open("wb") if choice.save is not None else None
    try:
        for mode in choice.modes:
            for each in clients:
                for record in sessions:
                    say(f"{each.name}, {mode}: {record.id}")
                    out.append(run_session(each, record, mode, choice.answers))
                    if file is not None:
                        file.write(orjson.dumps(out[-1].as_json(), option=orjson.OPT_APPEND_NEWLINE))
                        file.flush()
    finally:
        if file is not None:
            file.close()
    return out


def records_of(choice: Choice, tier: Tier, seed: int) -> Iterator[Record]:
    """The sessions: generated in the rendering that the model reads, or those of the file, cut to the length. Raises `Invalid` where the model does
    not take such a length, or the file holds none."""
    length = choice.length or (LENGTH if choice.records is None else tier.longest)
    if tier.longest is not None and length is not None and length > tier.longest:
        raise Invalid(f"--length: {choice.model} takes {tier.longest} tokens at most, with its questions, not {length}")
    if choice.records is None:
        for task in choice.tasks:
            for number in range(choice.sessions):
                yield generate(task, length or LENGTH, choice.turns, SEED + seed + number, tier.rendering, count=tier.count)
        return
    some = False
    for record in read_records(choice.records, choice.tasks[0] if choice.tasks else None):
        some = True
        if record.rendering == COMPACT and tier.rendering != COMPACT and choice.model != MEMORY:
            raise Invalid(f"--records: {record.id} is in the reference model's words; run it with --model {REFERENCE_MODEL}")
        if record.rendering != COMPACT and tier.rendering == COMPACT:
            raise Invalid(f"--records: {record.id} is text, and the reference model reads its own words only; name another with --model")
        yield record if length is None else truncate_middle(record, length, tier.count)
    if not some:
        raise Invalid(f"--records: {choice.records} holds no session")


def tier_of(choice: Choice) -> Tier:
    """The model that was named. Raises `ModelUnavailable` where it, or what it needs, is not there."""
    if choice.model == MEMORY:
        return Tier(lambda way: _memory(way, None))
    if choice.model.startswith(("http://", "https://")):
        return _served(choice)
    return _local(choice)


def _memory(way: Way, chat: Any) -> Client:
    """Text memory: its reader is rules, or the chat model. Raises `NotFound` for another method."""
    if way.name != MEMORY:
        there = f"{FULL}, {MEMORY}" if chat is not None else MEMORY
        raise NotFound(f"--methods: there is no {way.name!r} without a model that runs here; there are {there}")
    return _with(way, lambda options: MemoryClient(chat=chat, **options))


def _served(choice: Choice) -> Tier:
    from mnemos.models.openai_chat import OpenAIChat

    chat = OpenAIChat(choice.model_name, base_url=choice.model, api_key=os.environ.get("OPENAI_API_KEY"))

    def client(way: Way) -> Client:
        return ChatClient(chat) if way.name == FULL and not way.options and not way.aware else _memory(way, chat)

    return Tier(client)


def _local(choice: Choice) -> Tier:
    """The reference model, or one in a folder, with caches by any policy."""
    try:
        from mnemos.activation.memory import KVMemory
        from mnemos.activation.policies import MODULES, policy
        from mnemos.bench.scbench.clients import TokenClient
        from mnemos.bench.scbench.hf import CacheMethod
        from mnemos.bench.scbench.methods import COMPACT_TEMPLATE, PLAIN, CompactCodec, TokenizerCodec
        from mnemos.bench.scbench.planned import options_of
        from mnemos.bench.scbench.reading_client import ReadingClient
        from mnemos.bench.scbench.tiers import WAYS
        from mnemos.models import reference
        from mnemos.models.local.model import LocalModel
    except ImportError as missing:
        raise ModelUnavailable(f"caches run on a model, which needs {missing.name}; install it: pip install 'mnemos[models]'") from missing
    codec: Any
    if choice.model == REFERENCE_MODEL:
        model, codec, template, rendering = reference.load()[0], CompactCodec(), COMPACT_TEMPLATE, COMPACT
    else:
        loaded = LocalModel.load(choice.model)
        model, codec, template, rendering = loaded.module, TokenizerCodec(loaded.tokenizer), PLAIN, TEXT

    def cached(way: Way) -> TokenClient:
        if way.name not in MODULES:
            known = [FULL, MEMORY, *sorted({*MODULES, *WAYS} - {FULL})]
            raise NotFound(f"--methods: there is no {way.name!r} on {choice.model}; there are {', '.join(known)}")
        if way.name == FULL:
            if way.options or way.aware:
                raise Invalid(f"--methods: {FULL} keeps everything and takes no options, not {way.said!r}")
            return TokenClient(CacheMethod(model), codec, template)
        rule = policy(way.name, **options_of(way, model, choice))
        return TokenClient(CacheMethod(model, lambda: KVMemory.of(model, rule), way.label, way.aware), codec, template)

    def client(way: Way) -> Client:
        if way.name in WAYS:
            told = f"--methods: {way.name} takes no note of the question when it reads: leave 'aware' out of {way.said!r}"
            return _with(way, lambda given: TokenClient(WAYS[way.name](model, choice.model, **given), codec, template), told)
        if way.name != MEMORY:
            return cached(way)
        share = way.options.get("share", EIGHTH)
        tokens = max(1, round(share * (choice.length or LENGTH)))
        options = {"tokens": tokens, **{option: value for option, value in way.options.items() if option != "share"}}
        return _with(replace(way, options=options), lambda given: ReadingClient(cached(Way(FULL)), **given))

    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return Tier(client, rendering, lambda text: len(codec.encode(text)), longest if isinstance(longest, int) else None)


def _with(way: Way, make: Callable[[dict[str, Any]], Client], unaware: str = "") -> Client:
    """Raises `Invalid` for options that the method does not take; with what `unaware` says where it shall know the question."""
    if way.aware:
        raise Invalid(unaware or f"--methods: {way.name} reads nothing before it is asked: leave 'aware' out of {way.said!r}")
    try:
        return make(dict(way.options))
    except TypeError as wrong:
        raise Invalid(f"--methods: {way.said!r} has options that {way.name} does not take: {wrong}") from wrong
