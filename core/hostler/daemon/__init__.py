"""The daemon: keepers look at hosts, the controller plans, actions are carried out and recorded."""
