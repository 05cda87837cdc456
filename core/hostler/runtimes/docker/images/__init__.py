"""Copies images between hosts without a registry: receives them by a push, and loads only the
layers that a host lacks."""
