"""Every pass on one time axis, for trace viewers."""
