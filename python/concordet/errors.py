"""What a user is told: refused input (exit status 2) and failed runs (exit status 1)."""


class ConcordetError(Exception):
    """Base of every error that carries a message meant for the user, in one line."""


class InputError(ConcordetError):
    """Input that cannot be used: the message says what was expected, what came and which file."""


class RunError(ConcordetError):
    """A run that could not be finished for a reason outside the input, such as a full disk."""
