"""Conclusions that are kept, so that they need not be drawn again (Think-in-Memory, arXiv 2311.08719)."""
