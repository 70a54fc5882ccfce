"""The one exception that users are meant to see."""


class UserError(Exception):
    """Something the user can put right; the message is one line that says what and where."""


def reason(error: BaseException) -> str:
    """Why something failed, in one line; the type's name stands before what is not meant for users."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    if not lines:
        return name
    return lines[0] if isinstance(error, UserError | KeyboardInterrupt) else f"{name}: {lines[0]}"
