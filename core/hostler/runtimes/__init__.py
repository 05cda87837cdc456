"""What attempts run in: containers of Docker, or supervised processes of the host."""
