"""Pure functions over what is known: alerts, comparisons, searches, availability, time steps."""
