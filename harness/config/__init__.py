"""What a profile is asked to measure: frozen, validated values."""
