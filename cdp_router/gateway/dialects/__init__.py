"""The dialects of SDKs: the events of each family, as rows of the cluster."""
