"""Images that travel between hosts without a registry: pushed in, and loaded without the layers
that a host has."""
