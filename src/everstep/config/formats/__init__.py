"""The file formats: JSON with comments, and the line of each key."""
