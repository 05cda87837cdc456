"""This machine itself as a host: the same agent and the same Docker, without SSH."""
