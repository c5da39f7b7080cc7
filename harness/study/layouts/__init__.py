"""The best layout of instances on this machine."""
