"""The lives of memories: states, use, expiry, and bringing them up to date."""
