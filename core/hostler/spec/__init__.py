"""Reads files that people write, pipeline.toml and config.toml, from text to the model. No I/O.

`pipeline.read_pipeline`, `pipeline.command_pipeline`, `config.read_config` and `schema.schema` are
the ways in. Whatever is wrong comes as one PipelineError or ConfigError that lists every problem
with its key, its line and the nearest thing that would be right.
"""
