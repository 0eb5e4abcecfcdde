"""Plain data and pure functions that every floor above stands on."""
