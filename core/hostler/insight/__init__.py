"""Pure functions over what is known: alerts, comparisons, searches, the state of each GPU, time
steps.
"""
