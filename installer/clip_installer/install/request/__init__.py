"""The request, merged with what an earlier run remembered: options, paths, settings, the target server."""
