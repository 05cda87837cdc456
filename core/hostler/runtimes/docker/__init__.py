"""Containers by the Docker Engine, or by Podman with the same API."""
