"""Approximate nearest neighbours beside other libraries: data, exact truth, each system in a process of its own, curves, and the claims of SPANN."""
