"""What the machine does while a model is timed: one module per kind of device."""
