"""Is the data what its names promise? What `task=verify` looks at."""
