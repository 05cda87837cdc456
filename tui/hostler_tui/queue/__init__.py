"""Runs that are open: what runs, what waits and why."""
