//! The model in xDS v3: listeners, routes, clusters, endpoints for each proxy.
