//! A whole control plane, asked over real gRPC.

#![allow(clippy::unwrap_used)]

mod audit;
mod certificates;
mod cut;
mod dashboard;
mod decisions;
mod hostile;
mod input;
mod large_mesh;
mod limits;
mod mesh_service;
mod order;
mod push;
mod raw;
mod registration;
mod restart;
mod rig;
mod root;
mod secrets;
mod sotw;
mod wire;
mod work;
