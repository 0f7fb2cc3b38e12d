"""What the commands' exit codes mean."""

EXIT_ACCEPTED = 0
EXIT_HELD = 1
"""Devices failed, or a criterion was missed."""
EXIT_RIG = 2
"""Inconclusive because of the rig."""
EXIT_USAGE = 3
"""Usage or configuration; nothing has been touched."""
EXIT_INTERRUPTED = 130
