"""Texts that a language model has read, kept as its keys and values: made, found, put together, and let go of."""

from mnemos.kernel.kv.entries import Entry
from mnemos.kernel.kv.results import Injected
from mnemos.kernel.kv.shelf import KVShelf

__all__ = ["Entry", "Injected", "KVShelf"]
