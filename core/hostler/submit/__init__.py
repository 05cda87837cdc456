"""From a pipeline file or a command to a submission, with the code that it needs: packed, sent, and
told of. The command line, the terminal UI and the SDK submit through this room.
"""
