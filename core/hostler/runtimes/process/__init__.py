"""Stages as supervised processes of a host, through its agent."""
