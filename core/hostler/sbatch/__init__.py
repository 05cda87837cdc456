"""Slurm's batch scripts: what the `#SBATCH` lines of one ask for, and the pipeline that it means.
Pure: text in, values out."""
