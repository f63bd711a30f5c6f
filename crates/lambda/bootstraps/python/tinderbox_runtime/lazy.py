"""Installs the root log handler at the moment the user's code first imports `logging`.

`import logging` costs a large part of a Python cold start, and many functions only print.
"""

import os
import sys


class LoggingHook:
    """A finder that steps aside after the import of `logging`."""

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        # Only the standard library's: a file of the user's with this name must not win, as on AWS.
        standard = [os.path.dirname(os.__file__)]
        finders = (finder.find_spec(name, standard) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next(spec for spec in finders if spec is not None)
        execute = spec.loader.exec_module

        def execute_and_install(module):
            execute(module)
            from tinderbox_runtime.logs import install

            install()

        spec.loader.exec_module = execute_and_install
        return spec


def hook_logging():
    if "logging" in sys.modules:
        from tinderbox_runtime.logs import install

        install()
    else:
        sys.meta_path.insert(0, LoggingHook())
