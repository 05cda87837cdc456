"""What several screens show of hosts and GPUs: who holds them, and their details."""
