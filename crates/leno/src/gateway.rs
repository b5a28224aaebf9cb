//! `leno proxy gateway`: the data plane at the mesh's edge, on ports of this machine.
//!
//! In order: get an identity, learn the Gateways that it is for, open their ports; then serve until it is told to end.
//! A port that is taken or a certificate that is missing is told and tried again; the other ports are served.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use leno_proxy::Options;
use leno_proxy::discovery::Mode;
use tokio::signal::unix::{SignalKind, signal};

use crate::bootstrap::towards;
use crate::data_plane::{DataPlane, Member};
use crate::env::Environment;
use crate::join::JoinArgs;
use crate::node::{self, Program};
use crate::random;
use crate::workload::{self, WorkloadArgs};

/// Istio's name for its gateway, and the label by which its Gateways select it.
const NAME: &str = "istio-ingressgateway";
pub const LABEL: (&str, &str) = ("istio", "ingressgateway");
/// The label by which a proxy says that it is for one Gateway of the Gateway API.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// For what was begun when it is told to end.
const DRAIN: Duration = Duration::from_secs(5);

/// The data plane at the mesh's edge: serves Gateways on ports of this machine
#[derive(Debug, Args)]
pub struct Gateway {
    #[command(flatten)]
    pub gateway: GatewayArgs,
    #[command(flatten)]
    join: JoinArgs,
    /// Worker threads
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// Port on loopback for metrics and readiness; 0: none
    #[arg(long, default_value_t = leno_run::METRICS_PORT, value_name = "PORT")]
    metrics_port: u16,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    end_with_parent: bool,
}

/// Which Gateways, and where
#[derive(Clone, Debug, Args)]
pub struct GatewayArgs {
    /// Its name
    #[arg(long, default_value = NAME, value_parser = workload::dns_label)]
    name: String,
    #[arg(long, default_value = "default", value_parser = workload::dns_label)]
    namespace: String,
    #[arg(long, default_value = "istio-ingressgateway-service-account", value_name = "SA",
          value_parser = workload::dns_label)]
    service_account: String,
    /// Label by which Istio's Gateways select it [default: istio=ingressgateway, without --gateway]
    #[arg(long = "label", value_name = "K=V", value_parser = workload::label)]
    labels: Vec<(String, String)>,
    /// Serve this Gateway of the Gateway API only [default: all of its namespace]
    #[arg(long, value_name = "NAME", value_parser = workload::dns_label)]
    gateway: Option<String>,
    /// Open another port in place of a Gateway's: 80:8080
    #[arg(long = "map", value_name = "PORT:OPENED", value_parser = mapping)]
    maps: Vec<(u16, u16)>,
    /// Address to listen on [default: all of this machine]
    #[arg(long = "bind", value_name = "ADDR")]
    binds: Vec<IpAddr>,
    /// The address that is told to the mesh
    #[arg(long, value_name = "ADDR")]
    advertise: Option<IpAddr>,
    /// Trust domain of its identity
    #[arg(long, default_value = "cluster.local")]
    trust_domain: String,
}

impl GatewayArgs {
    /// As the rest of the mesh sees it.
    pub fn workload(&self) -> WorkloadArgs {
        let mut labels = self.labels.clone();
        match &self.gateway {
            Some(name) => labels.push((GATEWAY_NAME.to_owned(), name.clone())),
            None if labels.is_empty() => labels.push((LABEL.0.to_owned(), LABEL.1.to_owned())),
            None => {}
        }
        WorkloadArgs {
            service: self.name.clone(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            version: None,
            labels,
            ports: Vec::new(),
            advertise: self.advertise,
            cert_ttl: None,
            trust_domain: self.trust_domain.clone(),
        }
    }

    pub fn ports(&self) -> node::GatewayPorts {
        node::GatewayPorts {
            map: self.maps.iter().copied().collect::<BTreeMap<u16, u16>>(),
            bind: match self.binds.as_slice() {
                [] => everywhere(),
                said => said.to_vec(),
            },
        }
    }
}

/// Both families, where the machine has both.
pub fn everywhere() -> Vec<IpAddr> {
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }
    addresses
}

/// `80:8080`
pub fn mapping(text: &str) -> Result<(u16, u16), String> {
    let wrong = || "write it as PORT:OPENED, such as 80:8080".to_owned();
    let (port, opened) = text.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(wrong)
    };
    Ok((number(port)?, number(opened)?))
}

pub fn run(args: &Gateway, environment: &Environment) -> anyhow::Result<ExitCode> {
    if args.end_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args, environment))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &Gateway, environment: &Environment) -> anyhow::Result<()> {
    let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let join = args.join.resolve(environment)?;
    let workload = args.gateway.workload();
    let member = Member::new(&join);
    tokio::select! {
        certified = member.certify(&workload) => certified?,
        _ = int.recv() => return Ok(()),
        _ = term.recv() => return Ok(()),
    }
    let address = match workload.advertise {
        Some(address) => address,
        None => towards(join.address)?,
    };
    let name = format!("{}-{}", workload.base_name(), random::suffix());
    let node = node::gateway(Program::Leno, &workload, &name, address, &args.gateway.ports());
    let options = Options {
        concurrency: args.concurrency,
        ..Options::default()
    };
    let unhealthy = Some("starting".to_owned());
    let plane = member.start(&workload, node, Mode::Gateway, unhealthy, options)?;
    serve_metrics(&plane, args.metrics_port).await;
    let (mut configured, health) = (plane.state.clone(), plane.health.clone());
    tokio::spawn(async move {
        if configured.wait_for(|state| state.ready).await.is_ok() {
            tracing::info!("ready");
            health.send_replace(None);
        }
    });
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    plane.end(DRAIN).await;
    Ok(())
}

async fn serve_metrics(plane: &DataPlane, port: u16) {
    if port == 0 {
        return;
    }
    if let Err(error) = plane.serve_metrics((Ipv4Addr::LOCALHOST, port).into()).await {
        tracing::warn!(
            "metrics are not served: {error} — 127.0.0.1:{port} — give another --metrics-port, or 0"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_two_ports() {
        assert_eq!(mapping("80:8080"), Ok((80, 8080)));
        for wrong in ["80", "80:", ":80", "0:1", "80:0", "80:x", "80:70000"] {
            assert!(mapping(wrong).unwrap_err().contains("80:8080"), "{wrong}");
        }
    }
}
