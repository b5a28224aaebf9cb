//! SPIFFE identities, verifiers, and TLS configurations with live secrets.
