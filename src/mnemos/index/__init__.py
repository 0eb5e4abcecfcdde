"""Indexes: derived from the store's log, each knows its position, and is rebuilt at need."""
