//! Message types: Envoy's xDS v3, and the few that are not in it.
