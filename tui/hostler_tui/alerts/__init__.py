"""Open alerts and events."""
