"""Changes of memory, governed: what they do is measured before they are admitted, watched while they serve, and undone where they do harm."""
