//! Deciding: listener, route, filters, balance, retry; pure.
