"""What a run leaves behind: its folder, its identity, its mirror in Weights & Biases."""
