"""One file a command, imported when the command is used.

Each has `configure(parser)`, which adds its arguments, and `run(args)`, which returns the exit
code.
"""
