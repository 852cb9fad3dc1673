"""Values as JSON and back, exactly, and the errors of values that cannot be stored."""
