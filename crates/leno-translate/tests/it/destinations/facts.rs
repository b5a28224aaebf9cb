//! What the engine has made of a cluster, and of the filter before it, in words.

use std::collections::BTreeMap;
use std::time::Duration;

use leno_engine::compile::cluster::{BalancePolicy, Cluster, Consecutive, SlowStart, Transport};
use leno_engine::compile::listener::TcpProxy;
use leno_engine::compile::proxy_protocol::Introduction;
use leno_engine::compile::tls::{SecretSource, TrustSource, UpstreamTls};
use leno_proto::FromAny;
use leno_proto::envoy::config::cluster::v3 as pb;
use leno_proto::envoy::config::core::v3::transport_socket::ConfigType;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::UpstreamTlsContext;

type Said = BTreeMap<String, String>;

pub(super) fn of_tcp(tcp: &TcpProxy, said: &mut Said) {
    let mut say = |what: &str, text: String| said.insert(what.into(), text);
    say("idle", span(tcp.idle_timeout));
    say("longest", span(tcp.max_duration));
    let tunnel = tcp.tunnel.as_ref().map(|tunnel| {
        let how = if tunnel.post.is_some() { "POST" } else { "CONNECT" };
        format!("{how} {}", tunnel.authority.literal().unwrap_or("?"))
    });
    say("tunnel", tunnel.unwrap_or_else(none));
}

pub(super) fn of_cluster(cluster: &Cluster, said: &mut Said) {
    let mut say = |what: &str, text: String| said.insert(what.into(), text);
    let (balance, slow_start) = match &cluster.balance {
        BalancePolicy::RoundRobin { slow_start } => ("round robin".to_owned(), slow_start.as_ref()),
        BalancePolicy::LeastRequest(least) => ("least request".to_owned(), least.slow_start.as_ref()),
        BalancePolicy::Random => ("random".to_owned(), None),
        BalancePolicy::RingHash { minimum, .. } => (format!("ring of {minimum}"), None),
        BalancePolicy::Maglev { table_size, .. } => (format!("table of {table_size}"), None),
        BalancePolicy::ClusterProvided => ("as called".to_owned(), None),
        other => (format!("{other:?}"), None),
    };
    say("balance", balance);
    let warms = |said: &SlowStart| {
        let (aggression, percent) = (said.aggression.now(), said.minimum * 100.0);
        format!(
            "{} from {percent:.1}% by {aggression:.1}",
            span(Some(said.window))
        )
    };
    say("warm-up", slow_start.map_or_else(none, warms));
    let limits = &cluster.limits.default;
    let limit = |number: u32| match number {
        u32::MAX => none(),
        number => number.to_string(),
    };
    say("connections", limit(limits.max_connections));
    say("pending", limit(limits.max_pending_requests));
    say("requests", limit(limits.max_requests));
    say("retries", limit(limits.max_retries));
    let budget = limits.retry_budget;
    let budget = budget.map(|budget| format!("{}% and {}", budget.percent, budget.minimum));
    say("budget", budget.unwrap_or_else(none));
    say("connect", span(Some(cluster.connect_timeout)));
    say(
        "keep-alive",
        format!(
            "{:?}",
            cluster.keepalive.iter().map(|o| &o.what).collect::<Vec<_>>()
        ),
    );
    say("http idle", span(cluster.idle_timeout));
    say("http longest", span(cluster.max_connection_duration));
    let most = cluster.max_requests_per_connection;
    say("per connection", most.map_or_else(none, |most| most.to_string()));
    say("protocol", format!("{:?}", cluster.protocol));
    say("streams", limit(cluster.http2.max_concurrent_streams));
    let pings = cluster.http2.keepalive.as_ref();
    let pings = pings.map(|pings| format!("{} {}", span(Some(pings.interval)), span(Some(pings.timeout))));
    say("pings", pings.unwrap_or_else(none));
    say("panic", format!("{}%", cluster.panic_threshold));
    say("by locality", cluster.locality_weighted.to_string());
    if let Some(outlier) = &cluster.outlier {
        let count = |one: &Consecutive| match one.enforcing {
            0 => none(),
            _ => one.limit.to_string(),
        };
        say("5xx", count(&outlier.consecutive_5xx));
        say("gateway", count(&outlier.consecutive_gateway_failure));
        let local = outlier
            .split_external_local
            .then_some(&outlier.consecutive_local_origin_failure);
        say("local", local.map_or_else(none, count));
        say("interval", span(Some(outlier.interval)));
        say("ejected for", span(Some(outlier.base_ejection_time)));
        say("ejected", format!("{}%", outlier.max_ejection_percent));
    }
    let first = cluster.transport.matches.first().map(|(_, transport)| transport);
    let transport = first.unwrap_or(&cluster.transport.default);
    let introduction = transport.introduction();
    say(
        "introduction",
        introduction.map_or_else(none, |said| match said {
            Introduction::V1 => "V1".into(),
            Introduction::V2 { .. } => "V2".into(),
        }),
    );
    match transport.tls() {
        None => drop(say("tls", none())),
        Some(tls) => of_tls(tls, said),
    }
    said.insert("raw".into(), matches!(transport, Transport::Raw).to_string());
}

fn of_tls(tls: &UpstreamTls, said: &mut Said) {
    let mut say = |what: &str, text: String| said.insert(what.into(), text);
    say("tls", "TLS".into());
    say("sni", tls.sni.clone().unwrap_or_default());
    let certificates = tls.common.certificates.iter().map(|source| match source {
        SecretSource::Sds(name, _) => name.clone(),
        SecretSource::Inline(_) => "inline".into(),
    });
    say("certificate", certificates.collect::<Vec<_>>().join(" "));
    let Some(validation) = &tls.common.validation else {
        say("trust", "anybody".into());
        return;
    };
    let trust = match &validation.trust {
        TrustSource::Sds(name, _) => name.clone(),
        TrustSource::System => "the machine's".into(),
        TrustSource::InlinePem(_) => "inline".into(),
        TrustSource::None => "anybody".into(),
    };
    say("trust", trust);
    let names = validation
        .sans
        .iter()
        .map(|san| format!("{:?} {:?}", san.kind, san.matcher.pattern));
    say("peers", names.collect::<Vec<_>>().join(" "));
}

/// Of Envoy's version: the files that it is to open.
pub(super) fn of_message(cluster: &pb::Cluster, said: &mut Said) {
    let Some(ConfigType::TypedConfig(config)) = cluster
        .transport_socket
        .as_ref()
        .and_then(|socket| socket.config_type.as_ref())
    else {
        return;
    };
    let tls: UpstreamTlsContext = config.unpack().unwrap();
    let text = format!("{tls:?}");
    let mut names = text
        .split("Filename(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next());
    said.insert("files".into(), names.by_ref().collect::<Vec<_>>().join(" "));
}

fn none() -> String {
    "none".into()
}

fn span(span: Option<Duration>) -> String {
    span.map_or_else(none, |span| format!("{span:?}"))
}
