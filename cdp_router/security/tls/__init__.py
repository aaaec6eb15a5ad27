"""Certificates, secrets between processes, and where a process may listen."""
