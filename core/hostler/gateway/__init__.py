"""The gateway: one HAProxy on a host, without root, in front of the replicas of services.

Pure: `words` and `text` write the configuration, `states` reads what HAProxy says, `steps` decides
which commands come next, `traffic` adds up counted requests, `refusals` words what HAProxy refuses.
`runtime_socket`, `program` and `control` act.
"""
