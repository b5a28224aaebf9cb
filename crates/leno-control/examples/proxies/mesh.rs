//! The configuration: services described by themselves, and one with a workload whose health changes.

use std::path::Path;

use crate::Sizes;

/// The services whose workloads are proxies of this process: their endpoints change without a file.
pub const LIVE: usize = 100;

pub fn host(service: usize) -> String {
    format!("s{service}.default.svc.cluster.local")
}

pub fn cluster(service: usize) -> String {
    format!("outbound|80||{}", host(service))
}

pub fn route(service: usize) -> String {
    format!("{}:80", host(service))
}

/// The services that a proxy has asked for.
pub fn used(proxy: usize, sizes: &Sizes) -> impl Iterator<Item = usize> {
    let (services, used) = (sizes.of("services"), sizes.of("used"));
    (0..used).map(move |at| (proxy * used + at) % services)
}

pub fn users(service: usize, sizes: &Sizes) -> usize {
    let uses = |proxy: &usize| used(*proxy, sizes).any(|used| used == service);
    (0..sizes.of("proxies")).filter(uses).count()
}

pub fn write(directory: &Path, sizes: &Sizes) -> std::io::Result<()> {
    for service in 0..sizes.of("services") {
        let text = if service < LIVE {
            live(service)
        } else {
            described(service, sizes.of("endpoints"))
        };
        std::fs::write(directory.join(format!("s{service}.yaml")), text)?;
    }
    write_wide(directory, 0)
}

/// A change that concerns the inbound listener of every workload. Renamed into place: it is never seen in part.
pub fn write_wide(directory: &Path, number: usize) -> std::io::Result<()> {
    let text = format!(
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: wide, namespace: istio-system}}
spec:
  action: DENY
  rules: [{{to: [{{operation: {{methods: [M{number}]}}}}]}}]
"
    );
    let new = directory.join("wide.new");
    std::fs::write(&new, text)?;
    std::fs::rename(new, directory.join("wide.yaml"))
}

fn live(service: usize) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: s{service}, namespace: default}}
spec:
  selector: {{app: s{service}}}
  ports: [{{name: http, port: 80}}]
"
    )
}

fn described(service: usize, endpoints: usize) -> String {
    let addresses: String = (0..endpoints)
        .map(|endpoint| format!("  - address: 198.18.{}.{}\n", service % 250, 1 + endpoint % 250))
        .collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{service}, namespace: default}}
spec:
  hosts: [{}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints:
{addresses}",
        host(service)
    )
}
