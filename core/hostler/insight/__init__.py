"""Pure answers about what is known: alerts, comparisons, searches, availability, time steps."""
