"""Profiles in files: the only package that knows about HDF5."""
