"""Access and its record: keys, roles, secrets between processes, certificates, the audit."""
