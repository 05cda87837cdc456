"""A pipeline is chosen, planned and submitted."""
