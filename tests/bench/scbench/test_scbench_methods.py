"""Methods over a tiny random Llama: a prefix that is used again is as good as recomputing, and answers leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mnemos.activation.memory import KVMemory
from mnemos.activation.policies.snapkv import make as snapkv
from mnemos.activation.policies.window import make as window
from mnemos.base.errors import Conflict, Invalid
from mnemos.bench.scbench.clients import TokenClient
from mnemos.bench.scbench.harness import MULTI_REQUEST, MULTI_TURN, run_session
from mnemos.bench.scbench.hf import CacheMethod
from mnemos.bench.scbench.methods import COMPACT_TEMPLATE, CompactCodec, evidence_tokens, retention
from mnemos.bench.scbench.records import COMPACT, Record, Turn
from mnemos.bench.scbench.tasks import generate
from mnemos.models.reference.language import VOCABULARY


@pytest.fixture(scope="module")
def model() -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY), hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=16, max_position_embeddings=1024, initializer_range=0.3,
    )  # fmt: skip
    yield LlamaForCausalLM(config).eval()
    torch.set_num_threads(threads)


def makers(model: Any) -> dict[str, CacheMethod]:
    return {
        "full": CacheMethod(model, chunk=50),
        "full memory": CacheMethod(model, lambda: KVMemory.of(model), "full memory", chunk=50),
        "window": CacheMethod(model, lambda: KVMemory.of(model, window(tokens=64)), "window", chunk=50),
        "snapkv": CacheMethod(model, lambda: KVMemory.of(model, snapkv(tokens=64)), "snapkv", chunk=50),
        "snapkv, question known": CacheMethod(model, lambda: KVMemory.of(model, snapkv(tokens=64)), "snapkv+", query_aware=True, chunk=50),
    }


METHODS = ("full", "full memory", "window", "snapkv", "snapkv, question known")


def compact(task: str = "kv", length: int = 200, turns: int = 3) -> Record:
    return generate(task, length, turns, 1, COMPACT)


@pytest.mark.parametrize("name", ["full", "full memory"])
def test_a_reused_prefix_gives_the_logits_of_recomputing(model: Any, name: str) -> None:
    method, codec, record = makers(model)[name], CompactCodec(), compact()
    handle = method.prefill(codec.encode(record.context))
    said = record.context
    for turn in record.turns:
        method.append(handle, codec.encode(f" {turn.input} "))
        said += f" {turn.input}"
        probe = method.fork(handle)
        method.generate(probe, 5)
        again = method.prefill(codec.encode(said))
        assert torch.allclose(method.next_logits(handle), method.next_logits(again), atol=1e-4, rtol=0)
        plain = model(input_ids=torch.tensor([codec.encode(said)])).logits[0, -1]
        assert torch.allclose(method.next_logits(handle), plain, atol=1e-4, rtol=0)
        method.append(handle, codec.encode(f"{turn.reference} <end>"))
        said += f" {turn.reference} <end>"


@pytest.mark.parametrize("name", METHODS)
def test_requests_do_not_depend_on_their_order(model: Any, name: str) -> None:
    client = TokenClient(makers(model)[name], CompactCodec(), COMPACT_TEMPLATE)
    record = compact(turns=4)
    turned = Record(record.id, record.task, record.context, record.turns[::-1], COMPACT)
    one, other = (run_session(client, each, MULTI_REQUEST) for each in (record, turned))
    assert [row.answer for row in one.rows] == [row.answer for row in other.rows[::-1]]
    assert all(row.rolled_back for row in one.rows)


@pytest.mark.parametrize("name", METHODS)
def test_generated_tokens_never_remain(model: Any, name: str) -> None:
    method, codec, record = makers(model)[name], CompactCodec(), compact()
    handle = method.prefill(codec.encode(record.context), codec.encode(record.turns[0].input) if method.query_aware else ())
    before, length = method.digest(handle), method.stats(handle).length
    probe = method.fork(handle)
    made = method.generate(probe, 6)
    assert len(made.tokens) == 6
    assert method.digest(probe) != before
    assert method.digest(handle) == before
    assert method.stats(handle).length == length
    again = method.fork(handle)
    assert method.generate(again, 6).tokens == made.tokens
    result = run_session(TokenClient(method, codec, COMPACT_TEMPLATE), record, MULTI_TURN)
    words = len(codec.encode(record.context)) + sum(len(codec.encode(f"{turn.input} {turn.reference} <end>")) for turn in record.turns)
    last = result.rows[-1]
    assert last.length == words - len(codec.encode(record.turns[-1].reference)) - 1 + max(0, (last.tokens or 0) - 1) + (last.tokens < 6)


def test_what_stays_behind_is_noticed(model: Any) -> None:
    class Leaky(CacheMethod):
        def fork(self, handle: Any) -> Any:
            return handle

        def release(self, handle: Any) -> None:
            pass

    with pytest.raises(Conflict, match="generated tokens stayed"):
        run_session(TokenClient(Leaky(model), CompactCodec(), COMPACT_TEMPLATE), compact())
    with pytest.raises(Conflict, match="stayed"):
        run_session(TokenClient(Leaky(model), CompactCodec(), COMPACT_TEMPLATE), compact(), MULTI_REQUEST)


def test_bytes_and_retention_are_those_of_what_is_kept(model: Any) -> None:
    methods, record = makers(model), compact(length=400)
    rows = {name: run_session(TokenClient(methods[name], CompactCodec(), COMPACT_TEMPLATE), record).rows for name in METHODS}
    each = 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, width, bytes
    full = rows["full"][0]
    assert full.resident == {"device": full.length * each}
    assert full.retention == 1
    assert rows["full memory"][0].retention == 1
    assert rows["window"][0].bytes < full.bytes / 2
    assert rows["window"][0].retention is not None
    deep = [turn for turn in record.turns if turn.evidence[0][0] < len(record.context) / 2]
    assert deep
    assert min(row.retention for row in rows["window"]) == 0
    assert all(0 <= row.retention <= 1 for row in rows["snapkv"])
    generated = full.tokens - (full.tokens == 6)  # the last of six is not read
    assert full.moved == full.bytes - generated * each


def test_a_query_aware_method_reads_the_first_question_with_the_context(model: Any) -> None:
    method, record = makers(model)["snapkv, question known"], compact()
    client = TokenClient(method, CompactCodec(), COMPACT_TEMPLATE)
    session = client.open(record, record.turns[0])
    length = method.stats(session._handle).length
    assert length == len(f"{record.context} {record.turns[0].input}".split())
    session.ask(record.turns[0], 3)
    assert method.stats(session._handle).length == length  # not read twice
    session.ask(record.turns[1], 3)
    assert method.stats(session._handle).length == length + len(record.turns[1].input.split())
    assert run_session(client, record).query_aware


def test_evidence_is_found_among_tokens() -> None:
    record = compact()
    codec = CompactCodec()
    places = codec.places(record.context)
    for turn in record.turns:
        where = evidence_tokens(places, turn.evidence)
        assert codec.decode([codec.encode(record.context)[i] for i in where]) == record.context[slice(*turn.evidence[0])]
    assert evidence_tokens([(0, 3), (3, 5), (6, 9)], [(4, 7)], 10) == [11, 12]
    assert retention([[{1, 2}, {2}], [{3}, set()]], [1, 2]) == pytest.approx((1 + 0.5) / 4)
    assert retention([[{1}]], []) is None


def test_what_cannot_be_run_is_refused(model: Any) -> None:
    with pytest.raises(Invalid, match="at least one token"):
        CacheMethod(model).prefill([])
    with pytest.raises(Invalid, match="chunk"):
        CacheMethod(model, chunk=0)
    with pytest.raises(Invalid, match="no word of the compact language"):
        CompactCodec().encode("Grüße")
    with pytest.raises(Invalid, match="mode is one of"):
        run_session(TokenClient(CacheMethod(model), CompactCodec()), Record("x", "kv", "bado", (Turn("bado", "bado"),)), "backwards")
