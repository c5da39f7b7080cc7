"""Records that tests build their profiles from."""
