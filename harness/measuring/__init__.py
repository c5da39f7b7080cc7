"""The parent and child processes of a measurement."""
