"""Caches that evict by policy: classical ones, ones that follow a predicted bit, and the robust default of all hot sets (`auto`)."""
