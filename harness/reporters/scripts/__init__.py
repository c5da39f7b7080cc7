"""JSON for scripts."""
