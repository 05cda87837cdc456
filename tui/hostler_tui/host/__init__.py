"""One host: its GPUs, its jobs, its facts."""
