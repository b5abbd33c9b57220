"""`python -m gtpt` is `gtpt`."""

from gtpt.cli import main

if __name__ == "__main__":
    main()
