"""Durable state: database, content, archives, logs. The only package that uses SQLite."""
