"""Hosts and GPUs, shared by several screens: holders and details."""
