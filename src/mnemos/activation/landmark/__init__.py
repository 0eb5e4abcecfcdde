"""Landmark attention (Mohtashami & Jaggi 2023, arXiv 2305.16300): a token at the end of each block is what the block is found by."""
