"""`python -m castsheet.cli`."""

from castsheet.cli import main

if __name__ == "__main__":
    main()
