"""The daemon's HTTP API on its Unix socket: routes, streams, and who is calling."""
