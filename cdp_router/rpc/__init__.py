"""Common part of every call, whatever its service: one chain on the server, one service config for clients."""
