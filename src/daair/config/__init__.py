"""Compose, check and name the jobs of a command line."""
