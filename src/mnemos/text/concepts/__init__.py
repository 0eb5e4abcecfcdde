"""Concepts: typed abstractions distilled from verified solutions, selected for a problem and composed anew (ArcMemo, arXiv 2509.04439)."""
