"""The HTTP gateway: what the public SDKs send, to records of the cluster."""
