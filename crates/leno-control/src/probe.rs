//! Whether anything still answers at a workload's address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use leno_model::Workload;
use tokio::net::TcpStream;

/// Between two looks at an address whose stream has ended.
const PROBE_EVERY: Duration = Duration::from_millis(200);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// An address that neither answers nor refuses (a machine that is gone) is given up after so many looks.
const SILENT_LOOKS: u32 = 5;
/// Every sidecar has it; asked of workloads that declare no port.
const INBOUND_PORT: u16 = 15006;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Answers,
    Refuses,
    Silent,
}

/// Where the workload is reached.
pub(crate) fn targets(workload: &Workload) -> Vec<SocketAddr> {
    let ports: Vec<u16> = match workload.ports.as_slice() {
        [] => vec![INBOUND_PORT],
        ports => ports.iter().map(|p| p.port).collect(),
    };
    let with_ports = |ip: &IpAddr| {
        ports
            .iter()
            .map(|port| SocketAddr::new(*ip, *port))
            .collect::<Vec<_>>()
    };
    workload.addresses.iter().flat_map(with_ports).collect()
}

/// Looks until nothing is there any more.
pub(crate) async fn until_refused(targets: &[SocketAddr]) {
    let mut silent = 0;
    loop {
        match look(targets).await {
            Look::Answers => silent = 0,
            Look::Silent if silent + 1 < SILENT_LOOKS => silent += 1,
            Look::Silent | Look::Refuses => return,
        }
        tokio::time::sleep(PROBE_EVERY).await;
    }
}

/// One answer is enough to be there.
async fn look(targets: &[SocketAddr]) -> Look {
    let mut seen = Look::Refuses;
    for target in targets {
        match tokio::time::timeout(PROBE_TIMEOUT, TcpStream::connect(target)).await {
            Ok(Ok(_)) => return Look::Answers,
            Ok(Err(_)) => {}
            Err(_) => seen = Look::Silent,
        }
    }
    seen
}
