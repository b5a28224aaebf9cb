//! A whole control plane, asked over real gRPC.

#![allow(clippy::unwrap_used)]

mod audit;
mod certificates;
mod dashboard;
mod decisions;
mod large_mesh;
mod limits;
mod mesh_service;
mod push;
mod registration;
mod restart;
mod rig;
mod root;
mod sotw;
