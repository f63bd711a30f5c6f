"""Entry point of Tinderbox's Python bootstrap; run as `python3 -S bootstrap.py`.

It stays this short because a script is compiled on every start, whereas the package beside it is loaded from bytecode.
"""

from tinderbox_runtime.serve import main

main()
