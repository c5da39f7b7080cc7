"""Facts, counters and devices of the machine."""
