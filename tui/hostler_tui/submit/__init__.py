"""The submit form: choose a pipeline, see its plan, submit it."""
