"""`hostler gpus` in tens of milliseconds, with few modules of the standard library.

No asyncio, dataclasses, typing or pathlib here: each costs more than the whole answer. The rest of
the command line and the SDK use the same wire format, socket search and table writer.
"""
