"""From a command line to checked jobs."""
