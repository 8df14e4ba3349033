"""What was asked for, and what an earlier run remembered: options, paths, settings, the target server."""
