"""ORT's built-in profiler."""
