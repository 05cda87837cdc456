"""Widgets by the Line API: strings in, strips out; only changes are drawn."""
