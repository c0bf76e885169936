"""What can go wrong in a stage of export; each message names the thing and the next step.

ExportError
|- UsageError       the options do not fit together
|- ManifestError    the data cannot be used as they are
|- PruneError       the budget is out of reach
|- ConversionError  the graph does not compute what the network computes
|- GateError        a version must not be published
`- EngineError      no TensorRT engine can be built, or the one there does not fit
"""

from __future__ import annotations


class ExportError(RuntimeError):
    """Base class of them all."""


class UsageError(ExportError):
    """The options do not fit together, or one is missing; exit code 2."""


class ManifestError(ExportError, ValueError):
    """The data cannot be used; the message names the line, the column or the files."""


class PruneError(ExportError):
    """The budget cannot be met with these settings."""


class ConversionError(ExportError):
    """The converted graph does not compute what the network computes, or is not what TensorRT takes."""


class GateError(ExportError):
    """A version must not be published; the message holds the table or the file at fault."""


class EngineError(ExportError):
    """No engine can be built here, or the one there was made for something else."""
