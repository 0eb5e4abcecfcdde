"""Texts that a language model has read, kept as its keys and values: made, found, put together, and let go of."""

from mnemos.kernel.kv.shelf import Entry, Injected, KVShelf

__all__ = ["Entry", "Injected", "KVShelf"]
