"""The one exception a person is meant to read."""


class UserError(Exception):
    """Something the user can put right: the message says what, where and what to do.

    `stages.runtime.command.run` prints it as one line on stderr and exits with code 1.
    """
