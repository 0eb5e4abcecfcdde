"""Hypergraphs: memories that share names are one step apart, and a question's own working memory of facts over many names (HGMem)."""
