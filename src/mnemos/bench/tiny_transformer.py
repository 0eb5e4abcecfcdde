"""A small causal transformer in NumPy, with weights that nobody trained: it costs what attention costs, so that times and bytes are real."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Cache = list[tuple[Floats, Floats]]
"""Keys and values of each layer, each (heads, tokens, head_dim)."""


class TinyTransformer:
    """`layers` blocks of attention and a feed-forward part over `heads` × `head_dim`, float32."""

    def __init__(self, rng: np.random.Generator, *, layers: int = 3, heads: int = 4, head_dim: int = 32, vocabulary: int = 512) -> None:
        width = heads * head_dim
        self._heads, self._head_dim = heads, head_dim
        self._embedding = rng.standard_normal((vocabulary, width), dtype=np.float32) / np.float32(width**0.5)
        shapes = dict.fromkeys("qkvo", (width, width)) | {"up": (width, 4 * width), "down": (4 * width, width)}

        def weights(shape: tuple[int, int]) -> Floats:
            return rng.standard_normal(shape, dtype=np.float32) / np.float32(shape[0] ** 0.5)

        self._layers = [{name: weights(shape) for name, shape in shapes.items()} for _ in range(layers)]

    def run(self, tokens: NDArray[np.int64], past: Cache | None = None) -> tuple[Floats, Cache]:
        """(hidden states of `tokens`, shape (tokens, width); the cache with them appended). `past` is copied, never changed."""
        x = self._embedding[tokens]
        cache: Cache = []
        for number, layer in enumerate(self._layers):
            normal = x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-6)
            q, k, v = (self._split(normal @ layer[name]) for name in "qkv")
            if past is not None:
                k, v = np.concatenate([past[number][0], k], axis=1), np.concatenate([past[number][1], v], axis=1)
            cache.append((k, v))
            scores = q @ k.transpose(0, 2, 1) / np.float32(self._head_dim**0.5)
            before = k.shape[1] - len(tokens)
            scores += np.triu(np.full((len(tokens), k.shape[1]), -1e9, dtype=np.float32), before + 1)
            scores = np.exp(scores - scores.max(axis=2, keepdims=True))
            mixed = (scores / scores.sum(axis=2, keepdims=True)) @ v
            x = x + mixed.transpose(1, 0, 2).reshape(len(tokens), -1) @ layer["o"]
            x = x + np.maximum(x @ layer["up"], 0) @ layer["down"]
        return x, cache

    def _split(self, x: Floats) -> Floats:
        return x.reshape(len(x), self._heads, self._head_dim).transpose(1, 0, 2)


def nbytes(cache: Cache) -> int:
    """Bytes of the keys and values of a cache."""
    return sum(keys.nbytes + values.nbytes for keys, values in cache)


def measure(model: TinyTransformer, tokens: int, query: int, rng: np.random.Generator, rounds: int) -> list[tuple[float, float, float, int]]:
    """(build, without, within, bytes) of a context of `tokens` tokens, `rounds` times: processor seconds of computing its keys and values, of a
    query of `query` tokens with the whole context before it, and of the query on a copy of the keys and values."""
    context, asked, out = rng.integers(0, 512, tokens), rng.integers(0, 512, query), []
    model.run(context)  # the first time pays for memory
    for _ in range(rounds):
        start = time.process_time()
        _, cache = model.run(context)
        built = time.process_time()
        model.run(asked, cache)
        used = time.process_time()
        model.run(np.concatenate([context, asked]))
        whole = time.process_time()
        out.append((built - start, whole - used, used - built, nbytes(cache)))
    return out


def main(arguments: list[str]) -> None:
    """`SEED ROUNDS QUERY TOKENS…`: prints what `measure` gives for each number of tokens, as JSON."""
    seed, rounds, query, *sizes = map(int, arguments)
    rng = np.random.default_rng(seed)
    model = TinyTransformer(rng)
    print(json.dumps({tokens: measure(model, tokens, query, rng, rounds) for tokens in sizes}))


if __name__ == "__main__":
    main(sys.argv[1:])
