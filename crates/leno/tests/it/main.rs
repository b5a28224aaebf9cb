//! The whole thing: real processes, namespaces, certificates and xDS, as an ordinary user.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod advisories;
mod agent;
mod authentication;
mod authorization;
mod authorizers;
mod bookinfo;
mod cases;
mod certificates;
mod client;
mod control_death;
mod dashboard;
mod demo;
mod envoy;
mod explain;
mod footprint;
mod gateway;
mod grpc;
mod identity;
mod input;
mod kept;
mod kill;
mod live;
mod messages;
mod names;
mod pod;
mod privileges;
mod probing;
mod productpage;
mod protocols;
mod reachability;
mod readme;
mod revocation;
mod rotation;
mod routes;
mod routing;
mod samples;
mod seeing;
mod shares;
mod support;
mod tokens;
mod transparency;
mod verbs;
mod weights;
mod workload_flags;
