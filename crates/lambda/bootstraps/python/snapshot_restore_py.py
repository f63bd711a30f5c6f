"""What functions register SnapStart's runtime hooks with, as in AWS's library of this name, which its managed runtimes bring.

A package that brings the library itself gets its own: this one is last on the path.
"""

__all__ = ["register_before_snapshot", "register_after_restore"]

_before_snapshot = []
_after_restore = []


def register_before_snapshot(func, *args, **kwargs):
    """Has `func(*args, **kwargs)` called at the end of init, the last registered first. Also a decorator."""
    _before_snapshot.append((func, args, kwargs))
    return func


def register_after_restore(func, *args, **kwargs):
    """Has `func(*args, **kwargs)` called before the first event, in the order of registration. Also a decorator."""
    _after_restore.append((func, args, kwargs))
    return func


def get_before_snapshot():
    """What is called before a snapshot: tuples of a callable, its positional and its named arguments."""
    return _before_snapshot


def get_after_restore():
    """What is called after a restore: tuples of a callable, its positional and its named arguments."""
    return _after_restore
