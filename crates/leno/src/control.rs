//! `leno control`: the control plane on a directory of files.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::Args;
use leno_control::{KeyOptions, Limits, Options};
use leno_proxy::control_plane::CONTROL_PLANE_NAME;
use tokio::signal::unix::{SignalKind, signal};

use crate::env::Environment;

/// Control plane on files
#[derive(Debug, Args)]
pub struct Control {
    /// Directory with the mesh's configuration: every *.yaml, *.yml and *.json below it
    #[arg(long, value_name = "DIR")]
    config: PathBuf,
    /// Where the CA, tokens and last good state are kept [default: ~/.local/state/leno]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Address to serve workloads on (xDS and certificates over TLS)
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDR")]
    listen: IpAddr,
    /// Port for xDS and certificates over TLS; 0 picks a free one
    #[arg(long, default_value_t = 15012)]
    port: u16,
    /// Port for plaintext xDS, on loopback only; 0 picks a free one
    #[arg(long, default_value_t = 15010)]
    plaintext_port: u16,
    /// Serve no xDS without TLS: where other users of this machine are not trusted
    #[arg(long, conflicts_with = "plaintext_port")]
    no_plaintext: bool,
    /// Connections that proxies may have together; a proxy has three or four
    #[arg(long, default_value_t = Limits::default().connections, value_name = "NUMBER", value_parser = connections)]
    max_connections: usize,
    /// Port for metrics and debugging, on loopback only; 0 picks a free one
    #[arg(long, default_value_t = 15014)]
    admin_port: u16,
    /// Lifetime of workload certificates
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = crate::duration::parse)]
    cert_ttl: Duration,
    /// Append who joined, got certificates, made tokens, changed the configuration, and what policies denied, to this
    /// file (JSON lines)
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// How often the keys of tokens' issuers are fetched (RequestAuthentication's jwksUri)
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = crate::duration::parse)]
    jwks_refresh: Duration,
    /// Certificates that servers of such keys may have, besides what this machine trusts (PEM)
    #[arg(long, value_name = "FILE")]
    jwks_ca: Option<PathBuf>,
    /// The file by which programs on this machine find the control plane [default: $XDG_RUNTIME_DIR/leno/control.json]
    #[arg(long, value_name = "FILE")]
    rendezvous: Option<PathBuf>,
}

pub fn run(args: Control, environment: &Environment) -> anyhow::Result<()> {
    let Some(state) = args.state.or_else(|| environment.state_dir()) else {
        bail!("HOME is not set — the environment — set it, or give --state DIR");
    };
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let options = Options {
        config: Some(args.config),
        rendezvous: args.rendezvous.or_else(|| environment.rendezvous_file()),
        secure: SocketAddr::new(args.listen, args.port),
        plaintext: (!args.no_plaintext).then(|| local(args.plaintext_port)),
        admin: local(args.admin_port),
        names: vec![CONTROL_PLANE_NAME.to_owned()],
        cert_ttl: args.cert_ttl,
        audit_log: args.audit_log,
        limits: Limits::with_connections(args.max_connections),
        keys: KeyOptions {
            refresh: args.jwks_refresh,
            roots: args.jwks_ca,
        },
        ..Options::new(state)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let control = leno_control::run(options).await.map_err(|e| anyhow!("{e}"))?;
        tokio::select! {
            _ = int.recv() => {}
            _ = term.recv() => {}
        }
        control.shutdown().await;
        Ok(())
    })
}

/// Fewer would leave no room for an operator beside a mesh of a few workloads.
fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 64 => Ok(number),
        _ => Err("give a number from 64 on".to_owned()),
    }
}
