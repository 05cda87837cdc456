"""Packages for hosts that reach no package index: the daemon fetches wheels, and keeps them.

`requirements`, `target` and `explain` are pure. `fetch` runs `program`, which has pip in a process
of its own; `shelf` keeps what was fetched.
"""
