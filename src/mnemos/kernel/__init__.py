"""The operating system: who may, what state, which tier, what follows from what."""
