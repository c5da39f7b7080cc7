"""Compiled modules, built from ``ext/``.

Import them only as ``from harness.native import NAME``: import-linter sees only packages, and
would silently ignore ``from harness.native.NAME import …``.
"""
