"""Procedures: what an agent learnt from its own runs, as "when to use it" and "what to do" (ReMe, arXiv 2512.10696)."""
