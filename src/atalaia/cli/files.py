"""Files that a command is given: their bytes and texts, or one line that says why not."""

from pathlib import Path

from atalaia.model.errors import Invalid


def read_bytes(file: Path) -> bytes:
    """Raises Invalid."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise refused(file, error) from error


def read_text(file: Path) -> str:
    """Raises Invalid."""
    try:
        return read_bytes(file).decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"{file}: the file is not UTF-8 (byte {error.start + 1}).") from error


def write_bytes(file: Path, content: bytes) -> None:
    """Raises Invalid."""
    try:
        file.write_bytes(content)
    except OSError as error:
        raise refused(file, error) from error


def refused(file: Path, error: OSError) -> Invalid:
    """The path once, then why."""
    return Invalid(f"{file}: {error.strerror or error}.")
