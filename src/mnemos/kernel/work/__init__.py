"""Work that waits in the store, and the workers that do it."""
