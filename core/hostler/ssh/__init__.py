"""Reaches hosts by SSH. asyncssh is imported only here.

Strict by construction: the user's `ssh_config`, keys, agent and `known_hosts` are used, a host key
is never accepted on its own, nothing is forwarded but Docker's socket, and a refused login is not
tried again until something has changed.
"""
