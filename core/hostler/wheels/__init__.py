"""Fetches packages (wheels) for hosts without a package index, and keeps them.

`requirements`, `target` and `explain` are pure. `fetch` runs `program`, which has pip in a process
of its own; `shelf` keeps what was fetched.
"""
