"""Slurm's batch scripts: the requests of their `#SBATCH` lines, and the pipeline that a script
means. Pure: text in, values out."""
