"""The profiler that tells the truth about ONNX inference.

``harness.profile(config)`` measures a model; ``harness.read_profile(path)`` reads a stored
profile. Both return a ``harness.Profile``: named arrays and strings with units, as records, as
pandas frames (``to_pandas()``) or as an xarray DataTree (``to_xarray()``).
"""

# Import nothing here, not even from the standard library: ``python -m harness`` runs this file
# while the current folder still comes first on sys.path (see __main__).

TYPE_CHECKING = False
if TYPE_CHECKING:
    from harness.config.inputs import InputRequest
    from harness.config.profile import ProfileConfig
    from harness.config.session import SessionConfig
    from harness.errors import HarnessError
    from harness.measuring.profile import profile
    from harness.records import Profile
    from harness.storage.profile_file import read_profile
    from harness.version import __version__ as __version__

__all__ = [
    "HarnessError",
    "InputRequest",
    "Profile",
    "ProfileConfig",
    "SessionConfig",
    "profile",
    "read_profile",
]

_HOMES = {
    "HarnessError": "harness.errors",
    "InputRequest": "harness.config.inputs",
    "Profile": "harness.records",
    "ProfileConfig": "harness.config.profile",
    "SessionConfig": "harness.config.session",
    "__version__": "harness.version",
    "profile": "harness.measuring.profile",
    "read_profile": "harness.storage.profile_file",
}


def __getattr__(name: str) -> object:
    # Loaded on first use: "harness --help" needs neither numpy nor h5py.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    # Without it a shell would complete none of them before it was used.
    return sorted(_HOMES)
