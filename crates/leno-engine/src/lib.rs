//! Deciding: which listener chain, route, filter, endpoint, retry. Pure: the same code in every role.
//!
//! [`compile`] turns xDS messages into a validated form that cannot be wrong, or rejects them with the field's
//! path. [`decide`] answers with that form: no sockets, runtime, clock or randomness of its own; time and random
//! numbers are passed in. [`message`] is the engine's own form of a request, so that no filter knows a codec.

pub mod compile;
pub mod decide;
pub mod flags;
pub mod jwt;
pub mod message;
pub mod runtime;
