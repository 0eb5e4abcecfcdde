# requires: mem0ai==2.2.1 qdrant-client==1.20.0 fastembed==0.9.1 stop-words==2025.11.4 numpy
"""Mem0 as in `mem0`, with its keyword search: with fastembed installed it adds BM25 scores to those of its vectors.

The stop words of its BM25 are those of the package `stop-words`, because its own list is downloaded; without spaCy's model, which is
downloaded too, it takes the words as they are (its documented fallback) and finds no entities.
"""

import importlib
import runpy
from pathlib import Path
from typing import Any


def Peer(folder: str, dimensions: int) -> Any:
    peer = runpy.run_path(str(Path(__file__).with_name("mem0.py")))["Peer"](folder, dimensions)
    words = set(importlib.import_module("stop_words").get_stop_words("english"))
    bm25 = importlib.import_module("fastembed.sparse.bm25").Bm25("Qdrant/bm25", specific_model_path=folder, stopwords=words)
    peer._memory.vector_store._bm25_encoder = bm25
    return peer
