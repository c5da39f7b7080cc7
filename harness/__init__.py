"""The profiler that tells the truth about ONNX inference.

``harness.profile(config)`` measures, ``harness.read_profile(path)`` reads what was stored.
Both give a ``harness.Profile``: arrays and texts with names and units, as records, as pandas
frames (``to_pandas()``) or as an xarray DataTree (``to_xarray()``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.config.inputs import InputRequest
from harness.config.profile import ProfileConfig
from harness.config.session import SessionConfig
from harness.errors import HarnessError
from harness.version import __version__ as __version__

if TYPE_CHECKING:
    from harness.measuring.profile import profile
    from harness.records import Profile
    from harness.storage.profile_file import read_profile

__all__ = [
    "HarnessError",
    "InputRequest",
    "Profile",
    "ProfileConfig",
    "SessionConfig",
    "profile",
    "read_profile",
]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: "harness --help" needs neither numpy nor h5py.
    if name == "Profile":
        from harness.records import Profile

        return Profile
    if name == "profile":
        from harness.measuring.profile import profile

        return profile
    if name == "read_profile":
        from harness.storage.profile_file import read_profile

        return read_profile
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
