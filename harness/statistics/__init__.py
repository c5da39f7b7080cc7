"""From series to figures, intervals and verdicts; pure."""
