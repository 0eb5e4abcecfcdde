"""A policy that chooses what to keep: core, episodic and semantic memory, built by tool operations (Mem-α, arXiv 2509.25911)."""
