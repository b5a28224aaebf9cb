//! A whole control plane, asked over real gRPC.

#![allow(clippy::unwrap_used)]

mod audit;
mod certificates;
mod dashboard;
mod large_mesh;
mod mesh_service;
mod push;
mod registration;
mod restart;
mod rig;
mod root;
mod secrets;
mod sotw;
