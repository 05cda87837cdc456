"""The log of a stage: read, searched, followed, copied."""
