//! A whole control plane, asked over real gRPC.

#![allow(clippy::unwrap_used)]

mod certificates;
mod mesh_service;
mod push;
mod registration;
mod restart;
mod rig;
mod sotw;
