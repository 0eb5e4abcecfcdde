"""In what type the trainers multiply: bfloat16 where the processor is quick at it, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from mnemos.models.reference.training.batches import Books  # noqa: E402
from mnemos.models.reference.training.plan import Plan, Stage  # noqa: E402
from mnemos.models.reference.training.products import quick_products  # noqa: E402
from mnemos.models.reference.training.trainer import Trainer  # noqa: E402

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
PLAN = Plan(stages=(Stage(0, {64: 1}, 128, {"kv": 1}),), steps=2, cooldown=1, warmup=1, longest=64)


@pytest.mark.parametrize(("capability", "wanted"), [("AVX512", torch.bfloat16), ("AVX2", None), ("DEFAULT", None)])
def test_a_trainer_multiplies_in_bfloat16_only_where_that_is_quick(monkeypatch: pytest.MonkeyPatch, capability: str, wanted: Any) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert quick_products() is wanted
    trainer, types = Trainer(PLAN, Books(None), **SHAPE), set()
    trainer.model.lm_head.register_forward_hook(lambda module, given, out: types.add(out.dtype))
    assert trainer.advance()["loss"] > 0
    assert types == {wanted or torch.float32}
    assert all(weight.isfinite().all() for weight in trainer.model.parameters())
