"""What tests of several packages share, named by what it holds."""
