//! Issuing: the certificate authority and join tokens.
