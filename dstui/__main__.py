"""`python -m dstui` is `ds`."""

from dstui.cli import main

main()
