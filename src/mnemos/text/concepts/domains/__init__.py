"""Domains that solve without a model: grids, and texts to show that nothing is particular to grids."""
