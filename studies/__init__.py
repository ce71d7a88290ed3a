"""Config to run to evidence; the command line."""

if __name__ != "lopgym.studies":
    raise ImportError(
        f"this folder is the package lopgym.studies: write `import lopgym.studies`, not `import {__name__}`"
    )
