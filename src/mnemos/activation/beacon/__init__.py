"""MemoRAG's memory: a model reads a text once and keeps memory tokens' keys and values instead of the tokens' (arXiv 2409.05591, section 3.1).

`beacons` gives a model memory tokens, `windows` says how many, `memory` is the cache; `library` remembers documents, `training` teaches the tokens.
"""
