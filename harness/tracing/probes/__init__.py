"""Probes, operators that take timestamps before each node: placing, recording, evaluating them."""
