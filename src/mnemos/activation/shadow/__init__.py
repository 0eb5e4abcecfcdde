"""What ShadowKV (arXiv 2410.21465) makes of the tokens of a layer: `lowrank` factors keys, `selection` picks chunks, `part` holds and brings back,
`folding` moves tokens from the tail into it, `sources` says whose tokens they are, and forgets them."""
