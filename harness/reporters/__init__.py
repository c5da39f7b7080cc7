"""Profiles as text: each reporter takes records and opens no file other than its output."""
