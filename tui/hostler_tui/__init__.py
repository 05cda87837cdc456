"""The terminal screen: a client of the daemon like the command line."""
