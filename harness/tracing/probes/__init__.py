"""An operator before each node that stamps the time: where, in which graph, and what it tells."""
