"""The daemon: host monitors look at hosts, the controller plans and acts."""
