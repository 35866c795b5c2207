"""Why a container could not be started: the sentence that Docker says, and the exit code that goes with it. Pure."""

from __future__ import annotations

NOT_FOUND = 127
NOT_EXECUTABLE = 126
NOT_STARTED = 128

_NOT_FOUND = ("executable file not found", "no such file or directory", "not a directory: unknown")
_NOT_EXECUTABLE = ("permission denied", "exec format error", "is a directory")


def exit_code_of(message: str) -> int:
    """126, 127 or 128, as Docker's daemon takes it from the runtime's words (moby, daemon/errors.go, setExitCodeFromError)."""
    message = message.lower()
    if any(words in message for words in _NOT_FOUND):
        return NOT_FOUND
    if any(words in message for words in _NOT_EXECUTABLE):
        return NOT_EXECUTABLE
    return NOT_STARTED
