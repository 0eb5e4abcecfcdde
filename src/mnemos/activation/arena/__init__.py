"""An arena for keys and values: sequences lie together in virtual memory, and physical memory comes and goes by the page.

Prabhu et al., "vAttention: Dynamic Memory Management for Serving LLMs without PagedAttention", ASPLOS 2025, arXiv 2405.04437. Everything but
`tensors`, `lease` and `layers` does without torch.
"""
