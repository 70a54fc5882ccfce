"""Networks and methods to compare with, one a file."""
