"""The HTTP gateway: turns events of the public SDKs into records of the cluster."""
