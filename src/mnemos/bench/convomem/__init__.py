"""ConvoMem (Convomem Benchmark: Why Your First 150 Conversations Don't Need RAG, 2025, arXiv 2511.10523): a generator of conversational memory
tests that needs no model, its labels checked, and what reading everything, blocks, hits or a policy of them costs and answers by size."""
