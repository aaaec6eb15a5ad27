"""The outside world behind small interfaces: files, the clock, the system's memory; real and faulty."""
