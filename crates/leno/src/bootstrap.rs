//! `leno bootstrap`: what an Envoy or a gRPC library beside `leno agent` starts from.

mod envoy;
mod grpc;
mod place;

use clap::{Args, Subcommand};

use crate::env::Environment;
use crate::join::JoinArgs;
use crate::output;
use crate::workload::WorkloadArgs;

pub use envoy::{EnvoyArgs, envoy};
pub use grpc::grpc;
pub use place::{Place, PlaceArgs, towards};

/// What an Envoy or a gRPC library beside `leno agent` starts from, on stdout
#[derive(Debug, Args)]
pub struct Bootstrap {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// For an Envoy as sidecar or gateway: envoy -c FILE
    Envoy {
        #[command(flatten)]
        peer: Peer,
        #[command(flatten)]
        envoy: EnvoyArgs,
    },
    /// For a gRPC library without a proxy: GRPC_XDS_BOOTSTRAP=FILE
    Grpc {
        #[command(flatten)]
        peer: Peer,
    },
}

/// The same as for `leno agent`, so that both mean the same workload
#[derive(Debug, Args)]
pub struct Peer {
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub place: PlaceArgs,
    #[command(flatten)]
    pub join: JoinArgs,
}

pub fn run(args: &Bootstrap, environment: &Environment) -> anyhow::Result<()> {
    let made = match &args.kind {
        Kind::Envoy { peer, envoy: said } => envoy(&peer.workload, &peer.place(environment)?, said),
        Kind::Grpc { peer } => {
            let place = peer.place(environment)?;
            grpc(&peer.workload, &place, place.port()?)
        }
    };
    Ok(output::text(format!("{made:#}\n"))?)
}

impl Peer {
    pub fn place(&self, environment: &Environment) -> anyhow::Result<Place> {
        self.place.resolve(&self.workload, &self.join, environment)
    }
}
