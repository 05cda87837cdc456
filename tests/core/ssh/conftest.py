"""A real sshd, and a person with SSH files."""

from tests.support.sshfixtures import home, sshd

__all__ = ["home", "sshd"]
