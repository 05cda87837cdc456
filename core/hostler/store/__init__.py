"""What outlives the daemon: database, content, archives, logs. SQLite is spoken here only."""
