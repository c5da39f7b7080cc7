"""Many measurements to answer one question: sweeps, layouts, and studies of their profiles."""
