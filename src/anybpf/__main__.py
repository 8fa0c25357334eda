"""``python -m anybpf``: the command line."""

from anybpf.cli import main

if __name__ == "__main__":
    main()
