"""The cluster: topology, partition map, routing, scatter, and documents that all routers share."""
