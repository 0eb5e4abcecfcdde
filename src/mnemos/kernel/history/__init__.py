"""The past of a space: snapshots, going back, and what-if branches."""
