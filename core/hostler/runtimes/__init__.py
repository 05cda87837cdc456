"""Runtimes of attempts: Docker containers, or supervised processes of the host."""
