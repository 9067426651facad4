"""`python -m jobq`: hands the command line to jobq.cli and its exit status to the shell."""

from jobq.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
