//! leno: control plane, data plane and command line in one binary. One file per verb.
//!
//! `main` starts no thread before the verb is known: `leno run` must make its namespaces while it is alone.

mod agent;
mod bootstrap;
mod capture;
mod cert;
mod check;
mod cli;
mod client;
mod config;
mod control;
mod dashboard;
mod data_plane;
mod demo;
mod duration;
mod edges;
mod env;
mod explain;
mod gateway;
mod get;
mod interrupt;
mod join;
mod logging;
mod node;
mod output;
mod proxy;
mod random;
mod run;
mod sample;
mod screen;
mod seeing;
mod settled;
mod sidecar;
mod stat;
mod status;
mod tap;
mod token;
mod top;
mod validate;
mod workload;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::Leno::parse().verb.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
