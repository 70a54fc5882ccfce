"""The stored results of runs: their folders, pictures and scores, and their mirror in Weights & Biases."""
