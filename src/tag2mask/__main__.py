"""``python -m tag2mask``: the command line, where the program ``tag2mask`` is not on the path."""

from tag2mask.cli import main

if __name__ == "__main__":
    main()
