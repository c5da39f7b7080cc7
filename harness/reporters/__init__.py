"""A Profile as text: each reporter takes records and opens no file but its own output."""
