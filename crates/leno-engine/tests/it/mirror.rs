//! Where requests are mirrored to.

use leno_engine::compile::route::{Action, MirrorCluster};
use leno_proto::envoy::config::route::v3 as pb;

use crate::made::{compile_table, forward, host, prefix, table, to_cluster};

fn mirrors(clusters: &[&str]) -> Vec<pb::route_action::RequestMirrorPolicy> {
    let mirror = |cluster: &&str| pb::route_action::RequestMirrorPolicy {
        cluster: (*cluster).to_owned(),
        ..Default::default()
    };
    clusters.iter().map(mirror).collect()
}

fn of(name: &str, own: &[&str], routes: &[&str]) -> pb::VirtualHost {
    let action = pb::RouteAction {
        request_mirror_policies: mirrors(routes),
        ..to_cluster("a")
    };
    pb::VirtualHost {
        request_mirror_policies: mirrors(own),
        ..host(name, &[name], vec![forward(prefix("/"), action)])
    }
}

#[test]
fn mirrors_are_those_of_the_most_specific_that_names_any() {
    let mut message = table(vec![
        of("table", &[], &[]),
        of("host", &["host"], &[]),
        of("route", &["host"], &["one", "two"]),
    ]);
    message.request_mirror_policies = mirrors(&["table"]);
    let table = compile_table(&message).unwrap();
    let found = table.hosts.iter().map(|host| match &host.routes[0].action {
        Action::Forward(forward) => forward.mirrors.iter().map(|one| one.cluster.clone()).collect(),
        _ => Vec::new(),
    });
    let named = |names: &[&str]| -> Vec<MirrorCluster> {
        let names = names.iter().map(|name| (*name).to_owned());
        names.map(MirrorCluster::One).collect()
    };
    let wanted = [named(&["table"]), named(&["host"]), named(&["one", "two"])];
    assert_eq!(found.collect::<Vec<_>>(), wanted);
}
