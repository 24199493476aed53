"""What benchmark tools write, one file for each tool, read as measurements of one replica."""
