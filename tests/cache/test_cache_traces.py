"""Traces are read, replayed and tabulated; what was decided is logged, run again, and judged."""

from __future__ import annotations

import gzip
import json
import random
import struct
from pathlib import Path

import pytest
from cache_support import misses, sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from mnemos.base.errors import Corrupt, Invalid, NotFound
from mnemos.cache.auto import Auto
from mnemos.cache.base import Meta
from mnemos.cache.belady import Belady
from mnemos.cache.decisions import Decision, Recorder, differences, errors_of
from mnemos.cache.labels import discard_bits, discard_errors
from mnemos.cache.learned import LearnedBit
from mnemos.cache.lru import LRU
from mnemos.cache.lru_1bit import LRU1Bit
from mnemos.cache.predictors import Recorded
from mnemos.cache.replay import replay, table
from mnemos.cache.traces import Prompt, Trace, of_blocks, read_csv, read_jsonl, read_oracle_general, read_prompts, read_text


def test_plain_text_packed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("7\n8\n\n 7 \n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"7\n8\n7"))
    assert read_text(tmp_path / "a.txt") == Trace("a", ["7", "8", "7"])
    assert read_text(tmp_path / "b.txt.gz") == Trace("b", ["7", "8", "7"])
    assert read_text(tmp_path / "a.txt").pages == 2
    assert len(read_text(tmp_path / "a.txt")) == 3


def test_csv_by_column(tmp_path: Path) -> None:
    path = tmp_path / "io.csv"
    path.write_text("time_s,op,bytes,block\n10,2a,512,b1\n11,28,4096,b2\n")
    assert read_csv(path, "block") == Trace("io", ["b1", "b2"])
    assert read_csv(path, "block", size="bytes", at="time_s").metas == [Meta(size=512, at=10.0), Meta(size=4096, at=11.0)]
    with pytest.raises(Invalid, match="no column 'page'; there are time_s, op"):
        read_csv(path, "page")
    path.write_text("block,bytes\na,1\nb,many\n")
    with pytest.raises(Corrupt, match="row 2"):
        read_csv(path, "block", size="bytes")


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"trace": "x", "requests": [1, 2, 1]}\n\n{"requests": ["a"]}\n')
    assert read_jsonl(path) == [Trace("x", [1, 2, 1]), Trace("c-3", ["a"])]
    for bad in ("{", "[]", '{"requests": 3}', '{"requests": [[1]]}'):
        path.write_text('{"requests": [1]}\n' + bad)
        with pytest.raises(Corrupt, match="line 2"):
            read_jsonl(path)


def test_oracle_general(tmp_path: Path) -> None:
    path = tmp_path / "d.oracleGeneral.bin"
    record = struct.Struct("<IQIq")
    path.write_bytes(record.pack(100, 2**60, 700, 2) + record.pack(101, 5, 0, -1) + record.pack(102, 2**60, 700, -1))
    trace = read_oracle_general(path)
    assert list(trace.keys) == [2**60, 5, 2**60]
    assert list(trace.metas) == [Meta(size=700, at=100.0), Meta(size=1, at=101.0), Meta(size=700, at=102.0)]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Corrupt, match="24-byte"):
        read_oracle_general(path)
    path.write_bytes(b"")
    with pytest.raises(Corrupt):
        read_oracle_general(path)


def test_prompts_and_their_blocks(tmp_path: Path) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text('{"timestamp": 1500, "input_length": 1100, "output_length": 3, "hash_ids": [0, 1, 2]}\n'
                    '{"timestamp": 2000, "input_length": 600, "output_length": 3, "hash_ids": [0, 9]}\n')
    prompts = read_prompts(path)
    assert prompts == [Prompt(1.5, 1100, (0, 1, 2)), Prompt(2.0, 600, (0, 9))]
    assert list(of_blocks(prompts, "chat").keys) == [0, 1, 2, 0, 9]
    path.write_text('{"timestamp": 1500}')
    with pytest.raises(Corrupt, match="line 1"):
        read_prompts(path)


def test_files_that_are_not_there_or_not_whole(tmp_path: Path) -> None:
    for read in (read_text, read_jsonl, read_oracle_general, read_prompts):
        with pytest.raises(NotFound, match=r"none\.gz"):
            read(tmp_path / "none.gz")
    whole = gzip.compress(b"1\n" * 1000)
    for bad in (b"text", whole[: len(whole) // 2]):
        (tmp_path / "bad.txt.gz").write_bytes(bad)
        with pytest.raises(Corrupt, match="gzip"):
            read_text(tmp_path / "bad.txt.gz")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Corrupt, match="UTF-8"):
        read_text(tmp_path / "latin.txt")


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "any.bin"
    path.write_bytes(data)
    for read in (read_text, lambda path: read_csv(path, "a"), read_jsonl, read_oracle_general, read_prompts):
        try:
            read(path)
        except (Corrupt, Invalid) as error:
            assert "any.bin" in str(error)  # noqa: PT017  (most inputs are refused, some are not)


def test_replay_counts_misses_beside_the_fewest() -> None:
    requests = sequence("skewed", random.Random(1), 500, 60)
    outcomes = replay(Trace("t", requests), ["belady", "lru", "auto"], [5, 20])
    assert [(outcome.policy, outcome.capacity) for outcome in outcomes] == [(name, k) for k in (5, 20) for name in ("belady", "lru", "auto")]
    for outcome in outcomes:
        fewest = misses(Belady(outcome.capacity, requests), requests)
        assert outcome.ratio == pytest.approx(outcome.misses / fewest)
        assert outcome.miss_ratio == outcome.misses / 500
        assert outcome.cost == outcome.misses
        assert outcome.misses >= fewest
    assert next(o.misses for o in outcomes if o.policy == "lru" and o.capacity == 20) == misses(LRU(20), requests)
    assert set(table(outcomes)) == {"t at 5", "t at 20"}
    assert table(outcomes)["t at 5"]["belady"] == 1.0


def test_replay_takes_any_policy_and_weighs_sizes_and_costs() -> None:
    trace = Trace("sized", ["a", "b", "a", "c"], [Meta(size=2, cost=3.0), Meta(size=3, cost=1.0), Meta(size=2, cost=3.0), Meta(size=4, cost=5.0)])
    outcomes = replay(trace, {"mine": LRU}, [5])
    assert [(o.policy, o.misses, o.cost, o.ratio) for o in outcomes] == [("mine", 3, 9.0, None)]
    assert table(outcomes) == {"sized at 5": {"mine": 0.75}}
    assert replay([], ["lru"], [3])[0].miss_ratio == 0
    with pytest.raises(NotFound, match="s3-fifo"):
        replay([1], ["fifo"], [3])
    with pytest.raises(Invalid, match="metas"):
        replay(Trace("short", [1, 2], [Meta()]), ["lru"], [3])


def _logged(policy: Auto | LRU1Bit | LRU, requests: list[int]) -> list[Decision]:
    log: list[Decision] = []
    recorder = Recorder(policy, log.append)
    for key in requests:
        recorder.request(key, Meta(bit=1) if key % 11 == 0 else Meta())
    return log


@pytest.mark.parametrize("make", [lambda: Auto(8), lambda: LRU1Bit(8, LearnedBit(8)), lambda: LRU(8)])
def test_a_log_goes_through_json_and_is_run_again(make) -> None:  # type: ignore[no-untyped-def]
    requests = sequence("skewed", random.Random(2), 1500, 80)
    log = _logged(make(), requests)
    read = [Decision.from_json(json.loads(json.dumps(decision.as_json()))) for decision in log]
    assert read == log
    assert list(differences(read, make())) == []
    changed = [*read[:700], Decision(**{**vars_of(read[700]), "hit": not read[700].hit}), *read[701:]]
    assert [number for number, _, _ in differences(changed, make())] == [700]


def vars_of(decision: Decision) -> dict[str, object]:
    return {name: getattr(decision, name) for name in decision.__dataclass_fields__}


def test_a_log_tells_who_led_and_which_bits_the_victims_had() -> None:
    log = _logged(Auto(8), sequence("skewed", random.Random(2), 1500, 80))
    assert {decision.leader for decision in log} <= {"s3-fifo", "lrfu", "lru-1bit"}
    plain = _logged(LRU1Bit(2), [11, 1, 2, 3])
    assert [decision.bit for decision in plain] == [1, 0, 0, 0]
    assert [decision.victims for decision in plain] == [(), (), ((11, 1),), ((1, 0),)]


def test_the_log_of_given_bits_has_their_errors() -> None:
    rng = random.Random(3)
    requests = sequence("skewed", rng, 800, 60)
    truth = discard_bits(requests, 6)
    bits = [(bit == 1) ^ (rng.random() < 0.2) for bit in truth.tolist()]
    log: list[Decision] = []
    recorder = Recorder(LRU1Bit(6, Recorded(bits)), log.append)
    for key in requests:
        recorder.request(key)
    assert errors_of(log, 6) == discard_errors(bits, truth)
    with pytest.raises(Invalid, match="bit"):
        errors_of(_logged(LRU(6), requests), 6)


def test_bits_made_under_pressure_count_as_those_of_the_request_before() -> None:
    requests = sequence("drifting", random.Random(3), 3000, 60)
    log = _logged(LRU1Bit(16, LearnedBit(16)), requests)
    made = {number for number, decision in enumerate(log) for _, bit in decision.victims if bit}
    assert made, "nothing was learnt, so nothing is tested"
    errors = errors_of(log, 16)
    ones = sum(bit == 1 for decision in log for _, bit in decision.victims)
    assert 0 < errors.eta1 <= ones + len(requests) // 11 + 1


def test_what_is_no_decision_is_refused() -> None:
    good = _logged(LRU(3), [1])[0].as_json()
    for bad in (None, [], {}, {**good, "victims": 3}, {**good, "meta": {"weight": 1}}, {**good, "key": ["eval", 1]}):
        with pytest.raises((Corrupt, Invalid)):
            Decision.from_json(bad)
