"""A real sshd, and a person with SSH files."""

from tests.support.machines.sshfixtures import home, sshd

__all__ = ["home", "sshd"]
