//! leno's own engine takes what it is given, and nothing of it is without effect.

use leno_engine::compile::{NoFiles, Warnings, cluster, endpoint, listener, route};
use leno_model::MtlsMode;
use leno_translate::{Proxy, ResourceType, names};

use crate::full::everything;
use crate::mesh::{Mesh, envoy, sidecar};

/// Everything that can be asked for by name in this mesh.
fn listeners(mesh: &Mesh, proxy: &Proxy) -> Vec<String> {
    let mut all = names(&mesh.0, proxy, ResourceType::Listener).0;
    let on_demand = names(&mesh.0, &envoy("db-v1"), ResourceType::Listener).0;
    all.extend(on_demand);
    all.push("240.240.0.7_9080".into());
    all
}

fn clusters(mesh: &Mesh, proxy: &Proxy) -> Vec<String> {
    let mut all = names(&mesh.0, proxy, ResourceType::Cluster).0;
    all.extend(names(&mesh.0, &envoy("db-v1"), ResourceType::Cluster).0);
    all.push("outbound-tcp|9080||ratings.default.svc.cluster.local".into());
    all
}

#[test]
fn the_engine_accepts_the_whole_of_a_mesh() {
    for mode in [MtlsMode::Permissive, MtlsMode::Strict, MtlsMode::Disable] {
        let mesh = everything(mode);
        let mut warnings = Warnings::default();
        for proxy in ["reviews-v1", "ratings-v1", "db-v1"].map(sidecar) {
            for name in listeners(&mesh, &proxy) {
                let message = mesh.listener(&proxy, &name).unwrap();
                listener::compile(&message, &NoFiles, &mut warnings)
                    .unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            // leno's proxy asks for a service's routes, others for a port's.
            let of_port = (envoy("db-v1"), "9080");
            let of_service = (proxy.clone(), "reviews.default.svc.cluster.local:9080");
            for (proxy, name) in [of_port, of_service] {
                let message = mesh.routes(&proxy, name).unwrap();
                route::compile(&message, &NoFiles, &mut warnings).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            for name in clusters(&mesh, &proxy) {
                // Of another workload's inbound ports there is none.
                let Some(message) = mesh.cluster(&proxy, &name) else {
                    continue;
                };
                cluster::compile(&message, &NoFiles, &mut warnings).unwrap_or_else(|e| panic!("{name}: {e}"));
                if let Some(message) = mesh.endpoints(&proxy, &name) {
                    endpoint::compile(&message, &NoFiles, &mut warnings)
                        .unwrap_or_else(|e| panic!("{name}: {e}"));
                }
            }
        }
        assert!(warnings.0.is_empty(), "{:#?}", warnings.0);
    }
}
