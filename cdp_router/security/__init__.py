"""Who may do what: keys, roles, secrets between processes, certificates, the record of what was done."""
