"""Format version 1: columnar HDF5 that netCDF-4 readers open too; see profiles/FORMAT.md."""
