//! The whole thing: real processes, namespaces, certificates and xDS, as an ordinary user.

mod control_death;
mod demo;
mod identity;
mod input;
mod kill;
mod probing;
mod routes;
mod support;
mod transparency;
mod weights;
