"""A package that is shipped whole."""
