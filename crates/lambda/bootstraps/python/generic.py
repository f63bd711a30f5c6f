"""Entry point of a generic runtime: Python with our bootstrap loaded, before it is known for which function."""

from tinderbox_runtime.generic import main

main()
