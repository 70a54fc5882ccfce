"""The one exception that users are meant to see."""


class UserError(Exception):
    """Something the user can put right; the message is one line that says what and where."""
