"""Plans of what to measure, their cells on this machine, measured in rounds or on a cluster."""
