"""Commands for the functions of a server: plan, install, inspect, remove."""
