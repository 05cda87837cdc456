"""Decisions as pure functions, values in and values out: placing, queue, retries, causes, services,
expiry.

`plan.plan` takes a snapshot, and returns the actions to take and a reason for every pending stage;
`plan.preview` is the dry run. The parts of a plan are the modules index, releases, progress,
host_capacity, queue, placing, settle, orphans and reasons. No module here uses a clock, a disk or a
network.
"""
