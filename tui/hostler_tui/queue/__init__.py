"""Open runs: running and pending stages, with reasons."""
