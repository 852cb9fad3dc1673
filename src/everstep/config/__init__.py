"""Where settings come from: files, environment and local secrets, as one frozen schema."""
