//! What proxies tell of what policies came to: to whom, and who is not asked for it.

use leno_engine::compile::access_log::{AccessLog, Destination};
use leno_engine::compile::listener::{FilterChain, TerminalFilter, compile};
use leno_engine::compile::{NoFiles, Warnings};
use leno_model::MtlsMode;
use leno_translate::{Proxy, ResourceType, names};
use prost::Message;

use crate::full::everything;
use crate::mesh::{Mesh, envoy, sidecar};

fn audited(proxy: &Proxy) -> Proxy {
    Proxy {
        audited: true,
        ..proxy.clone()
    }
}

/// The encoded listeners of a proxy, by name.
fn listeners(mesh: &Mesh, proxy: &Proxy) -> Vec<(String, Vec<u8>)> {
    let (names, _) = names(&mesh.0, proxy, ResourceType::Listener);
    let mut names: Vec<String> = names.into_iter().collect();
    if proxy.on_demand {
        names.push("240.240.0.7_9080".to_owned());
    }
    let encoded = |name: String| {
        let listener = mesh.listener(proxy, &name)?;
        Some((name, listener.encode_to_vec()))
    };
    names.into_iter().filter_map(encoded).collect()
}

#[test]
fn without_policies_nothing_is_told_and_not_a_byte_is_different() {
    let mesh = Mesh::bookinfo();
    for proxy in [sidecar("reviews-v1"), envoy("reviews-v1")] {
        let all = listeners(&mesh, &proxy);
        assert!(all.len() > 1, "{}", all.len());
        assert_eq!(listeners(&mesh, &audited(&proxy)), all);
    }
}

fn tells(chain: &FilterChain) -> usize {
    let logs: &[std::sync::Arc<AccessLog>] = match &chain.terminal {
        TerminalFilter::Http(manager) => &manager.access_log,
        TerminalFilter::Tcp(tcp) => &tcp.access_log,
        other => panic!("{other:?}"),
    };
    let told = logs.iter().filter(|log| {
        let Destination::Entries(entries) = &log.to else {
            return false;
        };
        assert_eq!(entries.collector.service.cluster(), "xds-grpc");
        assert!(log.filter.is_some(), "what was allowed is not told");
        true
    });
    told.count()
}

#[test]
fn with_policies_each_chain_that_is_held_to_them_tells_what_they_came_to() {
    let mesh = everything(MtlsMode::Permissive);
    for proxy in [sidecar("reviews-v1"), envoy("reviews-v1")] {
        for (proxy, expected) in [(audited(&proxy), 1), (proxy, 0)] {
            let listener = mesh.listener(&proxy, "virtualInbound").unwrap();
            let compiled = compile(&listener, &NoFiles, &mut Warnings::default()).unwrap();
            let chains = compiled.chains.iter();
            let served: Vec<_> = chains
                .filter(|chain| !chain.name.ends_with("blackhole"))
                .collect();
            assert!(served.len() > 1);
            for chain in served {
                assert_eq!(tells(chain), expected, "{}", chain.name);
            }
            // Policies hold where the workload is called.
            for name in names(&mesh.0, &proxy, ResourceType::Listener).0 {
                if name != "virtualInbound" {
                    let listener = mesh.listener(&proxy, &name).unwrap();
                    let compiled = compile(&listener, &NoFiles, &mut Warnings::default()).unwrap();
                    let chains = compiled.chains.iter().chain(&compiled.default_chain);
                    assert_eq!(chains.map(|chain| tells(chain)).sum::<usize>(), 0, "{name}");
                }
            }
        }
    }
}
