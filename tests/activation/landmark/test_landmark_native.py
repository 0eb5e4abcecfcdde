"""The layer for decoders of one's own attends as a model of transformers with the same weights does, and learns."""

from __future__ import annotations

import pytest
import torch
from landmark_llama import BLOCK, with_landmarks

from mnemos.activation.landmark.native import LandmarkAttention
from mnemos.base.errors import Invalid

torch.set_num_threads(1)


@pytest.mark.parametrize("more", [{}, {"top_blocks": 1}, {"rivals": 1}, {"landmarks": True}, {"positions": True}, {"kept_blocks": True}])
def test_it_attends_as_the_attention_of_a_model_with_the_same_weights(more: dict[str, object]) -> None:
    model = with_landmarks()
    theirs = model.model.layers[0].self_attn
    ours = LandmarkAttention(32, 4, BLOCK, kv_heads=2)
    ours.load_state_dict(theirs.state_dict())
    states = torch.randn(2, 23, 32, generator=torch.Generator().manual_seed(0))
    places = torch.arange(23).expand(2, -1)
    drawn = torch.rand(2, 23, generator=torch.Generator().manual_seed(1)) > 0.7
    options = {name: each for name, each in more.items() if name != "positions"}
    if "landmarks" in more:
        options["landmarks"] = drawn & (torch.arange(23) % 2 == 1)
    if "kept_blocks" in more:
        options["kept_blocks"] = drawn[:, :5]
    if "positions" in more:
        places = places + 6 * (places > 9)
    with torch.no_grad():
        turned = model.model.rotary_emb(states, places)
        wanted = theirs(states, position_embeddings=turned, attention_mask=None, **options)[0]
        got = ours(states, places if "positions" in more else None, **options)
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)


def test_every_weight_learns_and_shapes_that_cannot_be_are_refused() -> None:
    layer = LandmarkAttention(12, 3, 4, kv_heads=1, head_dim=6)
    out = layer(torch.randn(2, 13, 12))
    assert out.shape == (2, 13, 12)
    out.square().sum().backward()
    assert all(bool(weight.grad.abs().sum() > 0) for weight in layer.parameters() if weight.grad is not None)
    assert all(weight.grad is not None for weight in layer.parameters())
    for heads, more in ((3, {"kv_heads": 2}), (4, {"head_dim": 3})):
        with pytest.raises(Invalid, match="multiple of those"):
            LandmarkAttention(12, heads, 4, **more)
