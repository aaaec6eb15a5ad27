"""The outside world in small interfaces: files, the clock, the system's memory; real and faulty."""
