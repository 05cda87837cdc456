"""Copies images between hosts without a registry: takes them by a push, and loads only the layers
that a host lacks."""
