"""Opening, migrating and copying a database."""
