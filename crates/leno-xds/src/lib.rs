//! The xDS protocol as state machines without IO: both sides.
