"""Where the time of an inference goes: per-operator times, their accounts and their bounds."""
