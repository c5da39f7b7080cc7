"""From a profile to what it says; pure."""
