"""Loading the sets: counts as their READMEs state them, and no label within what a system under test sees."""

import gzip
from pathlib import Path

import pytest

from mnemos.base.errors import Corrupt, NotFound
from mnemos.bench import bfcl_memory, datasets, locomo, longmemeval, multihop, nq_open, qmsum
from mnemos.bench.corpus import Corpus
from mnemos.bench.registry import Options


def test_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"--data DIR"):
        datasets.data_folder(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="no x"):
        datasets.read_lines(tmp_path, "x")


def test_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    assert datasets.data_folder() == tmp_path


def test_damaged_files_are_corrupt(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no gzip")
    with pytest.raises(Corrupt, match="fetch it again"):
        datasets.read_json(tmp_path, "a")
    (tmp_path / "b").write_bytes(gzip.compress(b"{no json"))
    with pytest.raises(Corrupt, match="no JSON"):
        datasets.read_lines(tmp_path, "b")
    (tmp_path / "c").write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(Corrupt):
        datasets.read_text(tmp_path, "c")


def test_locomo_categories_are_pinned() -> None:
    assert locomo.CATEGORIES == {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}


def test_locomo_evidence_survives_malformed_strings() -> None:
    turns = {"D8:6", "D9:17", "D30:5", "D11:2"}
    assert locomo.evidence_ids(["D8:6; D9:17"], turns) == {"D8:6", "D9:17"}
    assert locomo.evidence_ids(["D30:05", "D", "D:11:26", "D99:1"], turns) == {"D30:5"}
    assert locomo.evidence_ids(["D8:6 D11:2"], turns) == {"D8:6", "D11:2"}
    assert locomo.evidence_ids([], turns) == frozenset()


def no_labels(corpora: list[Corpus]) -> None:
    allowed = {"text", "type", "source", "author", "event_at", "metadata"}
    for corpus in corpora:
        sources = [record["source"] for record in corpus.records]
        assert len(sources) == len(set(sources))
        assert all(record.keys() <= allowed and "answer_" not in str(record["source"]) for record in corpus.records)
        assert all(question.evidence and question.evidence <= set(sources) for question in corpus.questions)


def test_locomo_counts(data: Path) -> None:
    corpora = locomo.load(data)
    no_labels(corpora)
    questions = [question for corpus in corpora for question in corpus.questions]
    counts = {name: sum(q.category == name for q in questions) for name in locomo.CATEGORIES.values()}
    assert len(corpora) == 7
    assert sum(len(corpus.records) for corpus in corpora) == 4419
    # the README's counts, less two open-domain questions without evidence
    assert counts == {"multi-hop": 209, "temporal": 234, "open-domain": 74, "single-hop": 665, "adversarial": 340}
    assert sum(q.labels["label_error"] for q in questions) == 112


def test_longmemeval_counts_and_labels(data: Path) -> None:
    quick = longmemeval.load(data, Options(quick=True))
    no_labels(quick)
    assert quick == longmemeval.load(data, Options(quick=True))  # the seed decides
    assert len({corpus.questions[0].category for corpus in quick}) == 6
    for corpus in quick:
        [question] = corpus.questions
        texts = {record["source"]: record["text"] for record in corpus.records}
        assert question.labels["turns"] == {source: texts[source] for source in question.evidence}
        assert not question.id.endswith("_abs")
        assert len({record["metadata"]["session"] for record in corpus.records}) >= longmemeval.QUICK_SESSIONS


def test_multihop_counts(data: Path) -> None:
    corpora = multihop.load(data, distractors=False)
    no_labels(corpora)
    assert [(len(c.records), len(c.questions)) for c in corpora] == [(1788, 100), (998, 100), (686, 82)]
    assert len(multihop.load(data)[2].records) > 6119


def test_other_counts(data: Path) -> None:
    meetings = qmsum.load(data)
    no_labels(meetings)
    assert (len(meetings), sum(len(c.questions) for c in meetings)) == (75, 634)
    pool = nq_open.load(data)
    no_labels([pool])
    assert len(pool.questions) == 1300
    scenarios, lost = bfcl_memory.load(data)
    no_labels(scenarios)
    assert (sum(len(c.records) for c in scenarios), sum(len(c.questions) for c in scenarios), lost) == (215, 105, 0)


def test_bfcl_quotations_are_placed_by_their_words() -> None:
    records = [{"text": "We met at noon. The outer box had seven crushed corners, sadly.", "source": "1"},
               {"text": "The box was fine and had a corner.", "source": "2"}]
    assert bfcl_memory.holders("...the outer box had seven crushed corners...", records) == {"1"}
    assert bfcl_memory.holders("an entirely different sentence about gardens", records) == frozenset()
    assert bfcl_memory.holders("...", records) == frozenset()
