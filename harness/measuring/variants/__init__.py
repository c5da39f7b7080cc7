"""Makes variants of a model, each step in a process of its own, and tells how far they are off."""
