"""Comparison of profiles: what differs between them, and how certainly."""
