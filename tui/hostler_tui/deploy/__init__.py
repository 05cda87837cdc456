"""The deployments screen: services, their releases and replicas."""
