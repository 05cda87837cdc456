"""Runs, shared by several screens: graph, lines, questions, actions."""
