"""What every call has in common, whatever its service: one chain on the server, one service config for clients."""
