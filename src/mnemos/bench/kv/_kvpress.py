"""Runs kvpress in its own environment, and measures it: `python _kvpress.py`, the request on stdin, the answer on stdout, both JSON.

Needs the standard library, torch, transformers and kvpress only. A context is read under a press, timed, weighed and compared with what the full
cache has of it; then kvpress' own pipeline reads it again and asks its questions, each from the state after the context.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import time
from typing import Any

import torch


def load(path: str) -> Any:
    """The module that lies at that path."""
    spec = importlib.util.spec_from_file_location("guard", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Bench:
    """A model, and kvpress' pipeline over it."""

    def __init__(self, folder: str) -> None:
        transformers = importlib.import_module("transformers")
        self.kvpress: Any = importlib.import_module("kvpress")
        self.model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.pipeline: Any = importlib.import_module("kvpress.pipeline").KVPressTextGenerationPipeline(model=self.model, tokenizer=tokenizer)
        self.cache: Any = transformers.DynamicCache
        self.versions = f"kvpress with transformers {transformers.__version__}, torch {torch.__version__}"

    def press(self, arm: dict[str, Any]) -> Any:
        """None for the full cache."""
        return getattr(self.kvpress, arm["press"])(**arm["press_options"]) if arm["press"] else None

    def read(self, context: Any, press: Any) -> tuple[float, Any]:
        """Seconds of processor time, and the cache."""
        cache = self.cache()
        start = time.process_time()
        with press(self.model) if press else contextlib.nullcontext():
            self.model.model(input_ids=context, past_key_values=cache)
        return time.process_time() - start, cache

    def measure(self, reading: dict[str, Any], arm: dict[str, Any], full: Any) -> dict[str, Any]:
        """What a press costs, keeps and answers."""
        context = torch.tensor([reading["context"]])
        seconds, cache = self.read(context, self.press(arm))
        questions = [torch.tensor([question]) for question in reading["questions"]]
        asked = {"context_ids": context, "questions_ids": questions}
        answers = self.pipeline._forward(asked, max_new_tokens=reading["tokens"], press=self.press(arm))
        return {"seconds": seconds, "bytes": weight(cache), "answers": answers, "held": held(cache, full)}


def weight(cache: Any) -> int:
    """Bytes of the storages behind the cache's tensors, each once."""
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def held(cache: Any, full: Any) -> list[list[list[int]]]:
    """For each layer and head the positions of the tokens whose keys are kept: those of the nearest keys in the full cache. A cache as long as that
    has them all."""
    places = []
    for layer, whole in zip(cache.layers, full.layers, strict=True):
        length = whole.keys.shape[2]
        if layer.keys.shape[2] == length:
            places.append([list(range(length))] * whole.keys.shape[1])
        else:
            places.append([sorted(torch.cdist(kept, its).argmin(-1).tolist()) for kept, its in zip(layer.keys[0], whole.keys[0], strict=True)])
    return places


def main() -> None:
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what others print is not the answer
    request = json.load(sys.stdin)
    sys.addaudithook(load(request["guard"]).refuse_network)
    torch.set_num_threads(1)
    results = []
    with torch.no_grad():
        bench = Bench(request["model"])
        for reading in request["readings"]:
            _, full = bench.read(torch.tensor([reading["context"]]), None)  # also warms up
            results.append([bench.measure(reading, arm, full) for arm in request["arms"]])
    with answer:
        json.dump({"version": bench.versions, "results": results}, answer)


if __name__ == "__main__":
    main()
