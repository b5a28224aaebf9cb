//! Whether the workload can be called: its declared ports listen, and the Envoy before them does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use leno_run::INBOUND_PORT;
use tokio::sync::watch;

use crate::workload::WorkloadArgs;

/// How often to look while a port is missing, and once all are there.
const EAGER: Duration = Duration::from_millis(100);
const CALM: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Readiness {
    ports: BTreeSet<u16>,
    /// Where a gRPC server may listen beside the wildcard.
    address: IpAddr,
}

impl Readiness {
    /// `inbound`: a sidecar listens before it.
    pub fn new(workload: &WorkloadArgs, address: IpAddr, inbound: bool) -> Self {
        let mut ports: BTreeSet<u16> = workload.ports.iter().map(|p| p.port).collect();
        if inbound {
            ports.insert(INBOUND_PORT);
        }
        Self { ports, address }
    }

    /// Why it is not healthy; None: it is.
    pub fn look(&self) -> Option<String> {
        let listening = match leno_run::listening_sockets() {
            Ok(sockets) => sockets,
            Err(error) => return Some(format!("the machine's sockets cannot be listed: {error}")),
        };
        let reached = |ip: IpAddr| {
            let ip = ip.to_canonical();
            ip.is_unspecified() || ip.is_loopback() || ip == self.address
        };
        let listens = |port: &&u16| listening.iter().any(|(ip, p)| p == *port && reached(*ip));
        let missing: Vec<String> = self
            .ports
            .iter()
            .filter(|port| !listens(port))
            .map(u16::to_string)
            .collect();
        (!missing.is_empty()).then(|| format!("nothing listens on port {}", missing.join(", ")))
    }

    /// Tells of changes until nobody listens.
    pub async fn watch(self, health: watch::Sender<Option<String>>, mut stopping: watch::Receiver<bool>) {
        while !health.is_closed() {
            let now = if *stopping.borrow() {
                // No new calls: others hear of it at once; what is open is served on.
                Some("stopping".to_owned())
            } else {
                self.look()
            };
            let pause = if now.is_some() { EAGER } else { CALM };
            health.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = stopping.changed() => if changed.is_err() { return },
            }
        }
    }
}
