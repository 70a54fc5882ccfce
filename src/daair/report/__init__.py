"""Reports on many runs: frames, tables, statistics, figures, pages."""
