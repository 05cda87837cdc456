"""The vocabulary: frozen dataclasses without I/O.

Times are float seconds since the epoch on the daemon's clock unless a field says otherwise,
durations float seconds, memory int bytes, power watts, energy joules, temperature Celsius.
"""
