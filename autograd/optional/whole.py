"""A file is whole or is not there: the door that every path passes, reading, and writing beside a file, then moving over it.

What is being written is named after its target, and locked as long as its writer lives. So what nobody holds was left by
a save that was killed, and the next save of the same target clears it away.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from chainrule.autograd.plain import describe

FilePath: TypeAlias = str | os.PathLike[str]

try:
    fcntl: Any = import_module("fcntl")
except ImportError:  # on Windows, where leftovers stay
    fcntl = None


def check_path(path: FilePath, *suffixes: str) -> None:
    """Raise an error that names the path if it is none, has another suffix, or leads to what is no regular file."""
    if not isinstance(path, str) and not isinstance(getattr(path, "__fspath__", lambda: None)(), str):
        raise TypeError(f"expected the path of a file, as text or a Path, got {describe(path)}")
    suffix = Path(path).suffix
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG  # as it is going to be
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r}: is no path: {error}") from None
    if suffixes and suffix not in suffixes:
        raise ValueError(
            f"{os.fspath(path)}: expected a file name that ends in {' or '.join(suffixes)}, got {suffix!r}"
        )
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{os.fspath(path)}: is a folder")
    if not stat.S_ISREG(mode):
        raise ValueError(f"{os.fspath(path)}: is no regular file, but a device, a pipe or a socket")


@contextmanager
def reading(path: FilePath) -> Iterator[BinaryIO]:
    with open(path, "rb") as file, blaming(path):
        yield file


@contextmanager
def blaming(path: FilePath) -> Iterator[None]:
    """Parsers meet damage in many ways, with many exceptions: here they become one, which names the file."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise ValueError(f"{os.fspath(path)}: {kind}{error}") from error


def write_whole(path: FilePath, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a file that then takes the place of `path`, with its permissions; of a link, of the file it names."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{os.fspath(path)}: there is no folder {str(target.parent)!r}")
    clear_leftovers(target)
    with naming(path):
        while not is_replaced(target, write):
            pass  # somebody took the new file for a leftover, in the moment before it was locked
    sync(target.parent)


@contextmanager
def naming(path: FilePath) -> Iterator[None]:
    """The system names no file, or the temporary one: here its errors name that which was to be written."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def is_replaced(target: Path, write: Callable[[BinaryIO], object]) -> bool:
    """Write the file and move it over the target. False where it vanished before it could be moved."""
    # in the same folder: a move between disks is a copy
    temporary = target.with_name(f".{label(target)}.chainrule-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            if fcntl is not None:
                with suppress(OSError):  # there are file systems without locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":
                file.close()  # Windows moves no open file; elsewhere the lock is held until it is moved
            return is_moved(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_moved(temporary: Path, target: Path) -> bool:
    with suppress(FileNotFoundError):  # there may be none to take the place of
        shutil.copymode(target, temporary)
    try:
        os.replace(temporary, target)
    except FileNotFoundError:
        return False
    return True


def clear_leftovers(target: Path) -> None:
    """Delete what saves of the same target left when they were killed: the system has taken their locks away."""
    if fcntl is None:
        return
    ours = re.compile(rf"\.{re.escape(label(target))}\.chainrule-[0-9a-f]{{16}}\.tmp")
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    os.unlink(entry.path)


def label(target: Path) -> str:
    """As much of its name as leaves room for more: 255 bytes are the most that a name can have."""
    return os.fsencode(target.name)[:200].decode(errors="ignore")


def sync(folder: Path) -> None:
    """Let the move outlive a loss of power, where a folder can be synced."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
