"""`python -m vppctl`."""

from vppctl.cli.main import main

main()
