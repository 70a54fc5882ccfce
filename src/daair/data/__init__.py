"""Data: where clean images come from, what degrades them, what a loader draws, and what is measured on."""
