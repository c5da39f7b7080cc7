"""Conclusions drawn from a profile, by pure functions."""
