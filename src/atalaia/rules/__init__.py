"""The rule language and its windows: pure and synchronous. Times in, transitions out."""
