"""From several profiles to what differs between them."""
