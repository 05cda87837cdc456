"""Decisions as pure functions, values in and values out: placing, queue, retries, causes, services,
expiry.

`plan.plan` looks at a snapshot and says what to do and why the rest waits. The other modules are
its parts, in the order in which it uses them: index, progress, settle, orphans, host_capacity,
queue, placement, reasons. `availability` says whether a GPU can be had; `preview` uses the
plan for dry runs. Nothing here knows a clock, a disk or a network.
"""
