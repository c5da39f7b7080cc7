"""Profiles in files: the only place that knows HDF5."""
