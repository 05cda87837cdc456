"""The base of all other packages: paths, private folders, wire, tables, units, text, errors.

Nothing is loaded here: `hostler gpus` takes single modules of it within its import budget.
"""
