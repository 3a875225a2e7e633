"""`python -m atalaia` is the command line."""

from atalaia.cli.main import main

if __name__ == "__main__":
    main()
