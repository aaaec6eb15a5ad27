"""Certificates, secrets between processes, and the addresses where a process may listen."""
