"""The files that Limn ships with: find them with `importlib.resources.files("resources")`."""
