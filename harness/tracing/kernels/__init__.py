"""GPU work, joined to the nodes that launched it."""
