"""What can go wrong before or while a server runs.

ServingError
├── SetupError      the machine lacks something: Python version, libpython, space, a port, a model file
│   └── VersionError    a version of the classifier is missing, in the way, or not as it was published
└── ServerError     the server itself did not start, or died
"""

from __future__ import annotations


class ServingError(Exception):
    """Base class; the message is a sentence that names the thing and the next step."""


class SetupError(ServingError):
    """The machine or the checkout lacks something that the server needs."""


class VersionError(SetupError):
    """A version of the classifier cannot be put in place or taken back."""


class ServerError(ServingError):
    """The server did not become ready, or ended unasked."""
