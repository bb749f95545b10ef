"""The commands as they were, in the words of their systems' own documentation."""
