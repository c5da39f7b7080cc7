"""Model files, the graphs made from them, and the work that they contain."""
