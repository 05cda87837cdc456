"""Containers through the Docker Engine, or Podman by the same API."""
