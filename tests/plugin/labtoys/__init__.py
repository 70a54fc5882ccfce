"""Parts of somebody else's for the lab."""
