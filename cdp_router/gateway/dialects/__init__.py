"""The dialects of SDKs: what each family sends, as rows of the cluster."""
