"""Entry point of a generic runtime: Python with our bootstrap loaded, before it is known for which function.

With the argument `zygote` it stays that way, and goes on once for each runtime that it is asked for, in a fork.
"""

import sys

from tinderbox_runtime.generic import main

if sys.argv[1:] == ["zygote"]:
    from tinderbox_runtime.zygote import wait

    wait()
main()
