"""Figures, intervals and verdicts computed from series of samples; pure functions."""
