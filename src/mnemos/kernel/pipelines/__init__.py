"""Steps that are done as one transaction."""
