"""Devices that are sampled while a model is timed."""
