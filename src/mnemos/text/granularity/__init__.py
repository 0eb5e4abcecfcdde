"""Several grains of one history at once (MemGAS, arXiv 2505.19549)."""
