"""Model files, the graphs made of them, and the work that they hold."""
