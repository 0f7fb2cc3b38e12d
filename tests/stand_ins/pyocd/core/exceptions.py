"""A stand-in for `pyocd.core.exceptions`."""


class Error(RuntimeError):
    pass


class TimeoutError(Error):  # noqa: A001 - so named by pyOCD
    pass


class ProbeError(Error):
    pass


class TargetError(Error):
    pass


class DebugError(TargetError):
    pass


class TransferError(DebugError):
    pass


class RTTError(Error):
    pass
