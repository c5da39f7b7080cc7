"""What each node of an executed graph has to do at least: operations and bytes."""
