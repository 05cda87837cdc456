"""From a pipeline file or a command to a submission: what is sent, which code goes along, and what
of it does not. The command line, the terminal UI and the SDK submit through this room and
`client.submission`, which speaks with the daemon.
"""
