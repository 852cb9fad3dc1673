"""The pages under `/__workflows`."""
