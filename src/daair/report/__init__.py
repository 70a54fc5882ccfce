"""What becomes of many runs: frames, tables, statistics, figures, pages."""
