"""The ONNX graph of all-MiniLM-L6-v2, float32 or int8, built from its published weights.

int8 recipe: weights symmetric int8 per output channel, activations uint8 quantised as they come, the word table int8 per row; attention,
normalisation and pooling stay float32. Activation channels differ in range by orders of magnitude, and one scale for all of them loses the
small ones. So before the two feed-forward products each channel is divided by its expected range and its weights multiplied by it
("SmoothQuant" §4). The ranges follow from the weights alone (a layer-normalised channel has mean `bias` and deviation `weight`), so that
the conversion needs no calibration texts: the mean cosine to float32 rises from 0.9925 to 0.996 at the same speed.

Processors without VNNI or AMX add pairs of products with signed weights in 16 bits, which overflow silently: the cosine falls to 0.9935.
`build_probe` tells whether this one does. There the same weights are kept unsigned, 128 higher, which is exact, and takes 1.25 times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnemos.models.weights import Tensors

Precision = Literal["int8", "float32"]

LAYERS = 6
HEADS = 12
HIDDEN = 384
MAX_TOKENS = 256
RECIPE = 2
"""Version of everything below that changes a vector. Raise it with any such change: vectors of different recipes are not comparable."""
PROBE = 64
"""Ones that the model of `build_probe` takes."""
PROBED = 127.0 * PROBE
"""What it gives for them; where sums overflow, about half of it."""

_MICROSOFT = "com.microsoft"
_EPSILON = 1e-12
_DEVIATIONS = 4.0
_GELU_DIP = 0.17
"""GELU's lowest value is −0.17: the least range that its output can have."""


def build_graph(weights: Tensors, precision: Precision, *, signed: bool = True) -> bytes:
    """Serialised ONNX model: `input_ids` (1, seq_len) int64 -> `embedding` (1, 384) float32, a unit vector. Needs the `onnx` package.

    One text at a time, and so no mask: the int8 scale of an activation is that of the whole input, and in a batch a text's vector would
    depend on its neighbours. `signed`: whether int8 weights are kept as such, or 128 higher as uint8; the vectors are the same.
    """
    return _Builder(weights, precision, signed).build()


def build_probe() -> bytes:
    """Serialised ONNX model `ones` (1, 64) int64 -> `sum` (1, 1) float32: of ones `PROBED` where signed weights are multiplied exactly."""
    builder = _Builder({}, "int8", signed=True)
    helper, types = builder.helper, builder.types
    ones = builder.node("Cast", ["ones"], to=types.FLOAT)  # of an input: the product of constants would be taken when the model is loaded
    highest = builder.constant("highest", np.full((PROBE, 1), 127, np.int8))
    builder.node("DynamicQuantizeMatMul", [ones, highest, builder.constant("scale", np.ones(1, np.float32))], output="sum", domain=_MICROSOFT)
    ids = helper.make_tensor_value_info("ones", types.INT64, [1, PROBE])
    return builder.serialised(ids, helper.make_tensor_value_info("sum", types.FLOAT, [1, 1]))


def expected_ranges(weights: Tensors, layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Expected magnitude of each input channel of the layer's two feed-forward products, shapes (384,) and (1536,), from the weights alone."""
    norm = f"encoder.layer.{layer}.attention.output.LayerNorm"
    mean, deviation = weights[f"{norm}.bias"], weights[f"{norm}.weight"]
    wide = weights[f"encoder.layer.{layer}.intermediate.dense.weight"]
    wide_mean = wide @ mean + weights[f"encoder.layer.{layer}.intermediate.dense.bias"]
    wide_deviation = np.sqrt(((wide * deviation) ** 2).sum(axis=1))
    inner: NDArray[np.float32] = (np.abs(mean) + _DEVIATIONS * np.abs(deviation)).astype(np.float32)
    return inner, np.maximum(wide_mean + _DEVIATIONS * wide_deviation, _GELU_DIP).astype(np.float32)


def quantise_columns(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 per column: `matrix` (k, n) ≈ values (k, n) × scales (n,)."""
    scales = np.maximum(np.abs(matrix).max(axis=0) / 127.0, np.finfo(np.float32).tiny).astype(np.float32)
    return np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8), scales


class _Builder:
    def __init__(self, weights: Tensors, precision: Precision, signed: bool) -> None:
        from onnx import TensorProto, helper, numpy_helper

        self.types, self.helper, self.numpy_helper = TensorProto, helper, numpy_helper
        self.weights = weights
        self.int8 = precision == "int8"
        self.signed = signed
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def build(self) -> bytes:
        helper, types = self.helper, self.types
        x = self.embeddings()
        for layer in range(LAYERS):
            x = self.layer(x, f"encoder.layer.{layer}", layer)
        pooled = self.node("ReduceMean", [x, self.integers("tokens", 1)], keepdims=0)
        self.node("LpNormalization", [pooled], output="embedding", axis=1, p=2)
        ids = helper.make_tensor_value_info("input_ids", types.INT64, [1, "seq_len"])
        return self.serialised(ids, helper.make_tensor_value_info("embedding", types.FLOAT, [1, HIDDEN]))

    def serialised(self, ids: Any, output: Any) -> bytes:
        helper = self.helper
        graph = helper.make_graph(self.nodes, "all-MiniLM-L6-v2", [ids], [output], self.constants)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="mnemos")
        return bytes(model.SerializeToString(deterministic=True))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(self.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], *, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        name = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name

    def embeddings(self) -> str:
        table = self.weights["embeddings.word_embeddings.weight"]
        if self.int8:
            values, scales = quantise_columns(table.T)
            looked_up = self.node("Gather", [self.constant("words", values.T), "input_ids"])
            row_scale = self.node("Gather", [self.constant("words.scale", scales[:, None]), "input_ids"])
            words = self.node("Mul", [self.node("Cast", [looked_up], to=self.types.FLOAT), row_scale])
        else:
            words = self.node("Gather", [self.constant("words", table), "input_ids"])
        positions = self.weights["embeddings.position_embeddings.weight"][:MAX_TOKENS]
        positions = positions + self.weights["embeddings.token_type_embeddings.weight"][0]
        seq_len = self.node("Slice", [self.node("Shape", ["input_ids"]), self.integers("one", 1), self.integers("two", 2)])
        places = self.node("Slice", [self.constant("positions", positions), self.integers("zero", 0), seq_len])
        summed = self.node("Add", [words, places])
        return self.node("LayerNormalization", [summed, *self.norm("embeddings.LayerNorm")], axis=-1, epsilon=_EPSILON)

    def layer(self, x: str, name: str, layer: int) -> str:
        inner, wide = expected_ranges(self.weights, layer)
        roles = [f"{name}.attention.self.{role}" for role in ("query", "key", "value")]
        projected = self.linear(x, roles)
        parts = [f"{name}.{role}" for role in "qkv"]
        self.nodes.append(self.helper.make_node("Split", [projected], parts, name=f"{name}.split", axis=2, num_outputs=3))
        attended = self.node("MultiHeadAttention", parts, domain=_MICROSOFT, num_heads=HEADS)
        x = self.add_norm(x, self.linear(attended, [f"{name}.attention.output.dense"]), f"{name}.attention.output.LayerNorm")
        widened = self.node("Gelu", [self.linear(x, [f"{name}.intermediate.dense"], inner)], domain=_MICROSOFT)
        return self.add_norm(x, self.linear(widened, [f"{name}.output.dense"], wide), f"{name}.output.LayerNorm")

    def linear(self, x: str, names: Sequence[str], ranges: NDArray[np.float32] | None = None) -> str:
        """x (1, seq_len, k) times the named matrices side by side (k, n), plus their biases; `ranges` (k,) smooths the channels of x."""
        name = names[0]
        matrix = np.concatenate([self.weights[f"{part}.weight"] for part in names]).T
        bias = self.constant(f"{name}.bias", np.concatenate([self.weights[f"{part}.bias"] for part in names]))
        if not self.int8:
            return self.node("Add", [self.node("MatMul", [x, self.constant(name, matrix)]), bias])
        if ranges is not None:
            # Half powers of two: a last-bit difference between two machines' arithmetic then cannot change the converted weights.
            relative = ranges / np.exp(np.log(ranges).mean())
            factors = np.exp2(np.rint(np.log2(relative) * 2.0) / 2.0).astype(np.float32)
            x = self.node("Mul", [x, self.constant(f"{name}.smooth", 1.0 / factors)])
            matrix = matrix * factors[:, None]
        values, scales = quantise_columns(matrix)
        kept = self.constant(name, values if self.signed else (values.astype(np.int16) + 128).astype(np.uint8))
        zeros = "" if self.signed else self.constant(f"{name}.zero", np.full(len(scales), 128, np.uint8))
        inputs = [x, kept, self.constant(f"{name}.scale", scales), zeros, bias]
        return self.node("DynamicQuantizeMatMul", inputs, domain=_MICROSOFT)

    def add_norm(self, x: str, added: str, name: str) -> str:
        return self.node("LayerNormalization", [self.node("Add", [x, added]), *self.norm(name)], axis=-1, epsilon=_EPSILON)

    def norm(self, name: str) -> tuple[str, str]:
        return self.constant(f"{name}.weight", self.weights[f"{name}.weight"]), self.constant(f"{name}.bias", self.weights[f"{name}.bias"])

    def integers(self, name: str, *values: int) -> str:
        return self.constant(name, np.array(values, dtype=np.int64))
