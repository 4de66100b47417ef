"""A file that is not accepted, before anybody has said what its reader should do."""


class RefusedError(Exception):
    """A file, or what somebody says about it, that is not accepted.

    Args:
        code: Stable word, known to whoever turns this into an error for the user.
        reason: One line, already safe for a terminal.
        advice: Key of a hint that fits better than that of `code`.
    """

    def __init__(self, code: str, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.advice = advice or code
