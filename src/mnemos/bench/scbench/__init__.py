"""SCBench (SCBench: A KV Cache-Centric Analysis of Long-Context Methods, 2024, arXiv 2412.10319): whether a way to remember survives being used
again. Twelve generated tasks, several turns or several requests over one context, metrics, baselines, and a harness for caches, chat models and
memories."""
