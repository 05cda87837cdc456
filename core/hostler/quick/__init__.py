"""`hostler gpus` in tens of milliseconds: standard library, and few modules of it.

No asyncio, dataclasses, typing or pathlib here: each costs more than the whole answer. The rest of
the command line and the SDK use the same wire format, socket search and table writer.
"""
