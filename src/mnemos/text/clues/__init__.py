"""Clues from a global memory of a corpus lead to evidence (MemoRAG, arXiv 2409.05591)."""
