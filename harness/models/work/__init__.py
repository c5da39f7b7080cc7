"""What the nodes of an executed graph have to do: operations and bytes."""
