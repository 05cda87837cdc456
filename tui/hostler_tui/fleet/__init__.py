"""All hosts and GPUs: the first screen."""
