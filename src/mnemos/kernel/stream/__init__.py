"""The log as a stream of events."""
