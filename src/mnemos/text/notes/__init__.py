"""Memories as notes that describe themselves, link to each other and learn from later ones (A-MEM, arXiv 2502.12110)."""
