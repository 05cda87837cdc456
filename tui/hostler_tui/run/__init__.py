"""One run: its stages, pages, charts, files and questions."""
