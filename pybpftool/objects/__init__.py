"""What a person asks about: records, how they are read, how they print."""
