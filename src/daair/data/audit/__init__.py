"""Checks of the data sets under a folder, which `task=verify` reports."""
