"""`python -m castsheet.cli`."""

from castsheet.cli import program

if __name__ == "__main__":
    program()
