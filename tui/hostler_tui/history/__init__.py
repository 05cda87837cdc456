"""Past runs: searched, sorted, chosen."""
