"""Concurrent transfers over HTTP: `recording` records what clients see, `checking` finds what cannot have happened."""
