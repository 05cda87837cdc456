"""Makes a submission from a pipeline file or a command: what is sent, and which code goes along.
The command line, the terminal UI and the SDK submit through this room and `client.submission`,
which speaks with the daemon."""
