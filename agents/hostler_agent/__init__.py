"""The agent on a GPU host: standard library and pynvml only, Python 3.8 or newer.

It reads GPUs, processes, containers, leases and jobs, and supervises process jobs. The daemon sends
it over SSH as one archive (`bundle`) and speaks with it in JSON lines (`wire`); those two modules
are all that the other side imports.
"""
