"""Widgets by the Line API: strings in, strips out, and only what changed is drawn."""
