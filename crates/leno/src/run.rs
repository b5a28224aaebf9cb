//! `leno run`: a process in the mesh, with its own network namespace, identity and sidecar.
//!
//! This runs before any thread exists: the launcher forks and makes namespaces (see `leno-run`).

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use leno_run::{Launch, LaunchError, ProxyCommand, Publish, cluster_search};

use crate::env::Environment;
use crate::join::JoinArgs;
use crate::workload::WorkloadArgs;

/// Run a process in the mesh: its own network namespace, identity, transparent sidecar; root not needed
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    workload: WorkloadArgs,
    /// Let this machine reach a port of the workload: [ADDRESS:]HOST_PORT:PORT
    #[arg(long = "publish", value_name = "HOST:PORT")]
    publish: Vec<Publish>,
    /// How long open requests may take when the command is being stopped
    #[arg(long, default_value = "5s", value_parser = crate::duration::parse)]
    drain: Duration,
    #[command(flatten)]
    join: JoinArgs,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    end_with_parent: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

pub fn run(args: Run, environment: &Environment) -> anyhow::Result<ExitCode> {
    if args.end_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    // Found before anything is started, so that a missing control plane is said at once.
    let join = args.join.resolve(environment)?;
    let mut proxy: Vec<OsString> = vec!["/proc/self/exe".into(), "proxy".into(), "sidecar".into()];
    proxy.extend(args.workload.flags().into_iter().map(OsString::from));
    proxy.extend(["--control".into(), join.address.to_string().into(), "--ca".into(), join.ca.into()]);
    proxy.extend(["--token".into(), join.token.into()]);
    let launch = Launch {
        name: format!("{}.{}", args.workload.base_name(), args.workload.namespace),
        search: cluster_search(&args.workload.namespace, "cluster.local"),
        ports: args.workload.ports.iter().map(|p| p.port).collect(),
        advertise: args.workload.advertise,
        publish: args.publish,
        command: args.command,
        proxy: ProxyCommand { command: proxy, environment: Vec::new() },
        drain: args.drain,
    };
    match leno_run::launch(&launch) {
        Ok(ending) => ending.leave(),
        // As a shell does: 127 if the command is not there, 126 if it cannot be executed.
        Err(error @ LaunchError::Command { .. }) => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1)))
        }
        Err(error) => Err(anyhow!("{error}")),
    }
}
