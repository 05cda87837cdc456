"""Makes a submission from a pipeline file or a command, with its code. The command line, the
terminal UI and the SDK submit through this room and `client.submission`, which speaks with the
daemon."""
