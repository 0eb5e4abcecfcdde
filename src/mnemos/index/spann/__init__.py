"""SPANN: vectors beyond memory, in lists on disk.

Chen et al., "SPANN: Highly-efficient Billion-scale Approximate Nearest Neighbor Search", NeurIPS 2021; lists kept up to date as in Xu et al.,
"SPFresh: Incremental In-Place Update for Billion-Scale Vector Search", SOSP 2023.
"""
