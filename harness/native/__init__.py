"""Compiled modules, built from ``ext/``.

They are imported as ``from harness.native import NAME`` only: import-linter sees packages, and
would silently drop ``from harness.native.NAME import …``.
"""
