"""Devices that are sampled while a model is being timed."""
