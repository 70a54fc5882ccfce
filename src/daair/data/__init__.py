"""Image sources, degradations, mixes and benchmarks, and the data sets of the loaders."""
