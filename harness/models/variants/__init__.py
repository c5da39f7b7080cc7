"""Variants of a model: what is done to its graph, and how far its outputs then are.

Nothing here runs a model: ``harness.measuring.variants`` does.
"""
