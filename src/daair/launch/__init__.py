"""Launch many runs, on the devices of this machine or on a Slurm cluster."""
