"""The checkpoint: loads from the package alone, is the one of its card, small, and answers as often as the card says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable  # noqa: E402
from mnemos.models import reference  # noqa: E402
from mnemos.models.reference import language, tasks  # noqa: E402
from mnemos.models.reference.model import config  # noqa: E402
from mnemos.models.reference.score import accuracy, score  # noqa: E402


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    torch.set_num_threads(1)
    return reference.load()


def test_it_is_a_small_llama_with_grouped_queries(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    shape = model.config
    assert isinstance(model, transformers.LlamaForCausalLM)
    assert not model.training
    assert shape.num_key_value_heads >= 2
    assert shape.num_attention_heads >= 2 * shape.num_key_value_heads
    assert shape.max_position_embeddings >= 2048
    assert shape.vocab_size == len(language.VOCABULARY)
    ours = config()
    assert (shape.hidden_size, shape.num_hidden_layers, shape.eos_token_id) == (ours.hidden_size, ours.num_hidden_layers, ours.eos_token_id)
    assert sum(file.stat().st_size for file in reference.folder().iterdir()) <= 8_000_000


def test_it_loads_by_its_path_without_a_network(monkeypatch: pytest.MonkeyPatch, loaded: tuple[Any, Any]) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = transformers.AutoModelForCausalLM.from_pretrained(reference.folder(), dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(reference.folder())
    assert all(torch.equal(mine, other) for mine, other in zip(model.state_dict().values(), loaded[0].state_dict().values(), strict=True))
    assert tokenizer.eos_token == language.END
    assert tokenizer.pad_token == language.PAD


def test_its_tokenizer_is_the_language(loaded: tuple[Any, Any]) -> None:
    _, tokenizer = loaded
    assert (reference.folder() / "tokenizer.json").read_text(encoding="utf-8") == language.tokenizer_json()
    words = tasks.make("code", 256, 2, 0).words()
    assert tokenizer(language.text(words))["input_ids"] == language.encode(words)
    assert tokenizer.decode(language.encode(words)) == language.text(words)


def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(reference.folder(), tmp_path / "checkpoint")
    weights = tmp_path / "checkpoint" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    monkeypatch.setattr(reference, "folder", lambda: tmp_path / "checkpoint")
    with pytest.raises(Corrupt, match="sha256"):
        reference.load()


def test_a_package_without_the_checkpoint_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_CHECKPOINT", "no such folder")
    with pytest.raises(ModelUnavailable, match=r"holds no model\.safetensors"):
        reference.load()


@pytest.mark.parametrize(
    ("name", "length", "sessions", "below"), [("kv", 512, 8, 0.08), ("needle", 512, 5, 0.1), ("copy", 256, 6, 0.12), ("rule", 256, 12, 0.12)]
)
def test_it_answers_as_often_as_its_card_says(loaded: tuple[Any, Any], name: str, length: int, sessions: int, below: float) -> None:
    found = accuracy(loaded[0], name, length, 5, sessions, seed=12345)
    assert found.accuracy >= reference.card()["scores"][name][str(length)]["exact"] - below


def test_keys_are_found_in_2048_words_at_every_turn(loaded: tuple[Any, Any]) -> None:
    """The first promise of the reference model: at least 95 % at its longest context."""
    found = accuracy(loaded[0], "kv", 2048, 5, 4, seed=12345)
    assert found.accuracy >= 0.95
    assert min(found.by_turn) >= 0.75
    assert all(share >= 0.95 for share in reference.card()["scores"]["kv"]["2048"]["by_turn"])


def test_greedy_decoding_gives_exactly_the_answers_that_count_as_right(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    for name in ("kv", "chain", "world"):
        for seed in range(2):
            session = tasks.make(name, 256, 1, seed)
            prompt = torch.tensor([language.encode(session.prompt(0))])
            answer = language.encode(session.turns[0].answer)
            decoded = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=len(answer), do_sample=False)[
                0, prompt.shape[1] :
            ].tolist()
            assert (decoded == answer) == (score(model, [session]).right == 1)


def test_no_session_is_no_score(loaded: tuple[Any, Any]) -> None:
    with pytest.raises(Invalid, match="no session"):
        score(loaded[0], [])


def test_an_answer_is_not_guessed_without_its_evidence(loaded: tuple[Any, Any]) -> None:
    """The asked line taken out of the context: what was right every time is never right."""
    right = 0
    for seed in range(10):
        session = tasks.make("kv", 256, 1, seed)
        (turn,) = session.turns
        ((begin, end),) = turn.evidence
        without = tasks.Session(session.task, session.context[:begin] + session.context[end:], session.turns)
        right += score(loaded[0], [without]).right
    assert right == 0
