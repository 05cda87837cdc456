"""Reaches hosts by SSH. asyncssh is imported only here.

It is always strict: it uses the user's `ssh_config`, keys, agent and `known_hosts`, never accepts a
host key by itself, forwards only Docker's socket, and does not retry a refused login until its
cause may have changed.
"""
