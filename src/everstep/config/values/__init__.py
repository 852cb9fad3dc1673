"""The rules that a setting's value must keep, and the names of types in messages."""
