"""What crosses the daemon's socket: one frozen dataclass for each object. The daemon makes them,
its OpenAPI page describes them, and the client returns them. `codec` writes and reads them.

States and causes are plain text here, since a newer daemon may have others. What a missing key
means, in an answer of an older daemon, is the default of its field. Where a value of the model
crosses as it is (a host, an event), a view is another name for it.
"""
