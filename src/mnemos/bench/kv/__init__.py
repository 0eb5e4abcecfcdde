"""Benchmarks of KV memory: what each policy keeps of quality, for how many measured bytes, and in what time."""
