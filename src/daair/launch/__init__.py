"""Many runs on one machine: what to run, on which devices, and one process for each."""
