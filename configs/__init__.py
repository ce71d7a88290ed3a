"""YAML: one runnable question a file, and named presets."""

if __name__ != "lopgym.configs":
    raise ImportError(
        f"this folder is the package lopgym.configs: write `import lopgym.configs`, not `import {__name__}`"
    )
