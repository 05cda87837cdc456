"""A host with its agent running: the agent's protocol over any door.

What an agent says is hostile input here: capped in length and depth, checked against the model,
and at the first violation the host is quarantined.
"""
