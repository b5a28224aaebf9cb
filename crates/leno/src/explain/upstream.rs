//! A cluster: who shaped it, who is behind it, how it is spoken to, and what the far side does with that.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use leno_engine::compile::cluster::{self, BalancePolicy, Discovery, Thresholds, UpstreamProtocol};
use leno_engine::compile::endpoint::{self, Assignment, Endpoint as Compiled, Health, Target as Address};
use leno_engine::compile::listener::Address as Socket;
use leno_engine::compile::matcher::Pattern;
use leno_engine::compile::tls::UpstreamTls;
use leno_engine::compile::{NoFiles, Warnings};
use leno_engine::message::{RequestHead, Version};
use leno_proto::envoy::config::cluster::v3::Cluster;
use leno_proto::envoy::config::core::v3::Metadata;
use leno_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use leno_proto::google::protobuf::value::Kind as Value;
use leno_proxy::alpn::{self, Offer};
use leno_translate::ResourceType;

use super::answer::{Endpoint, Explanation, Kind, Made, Target, Transport};
use super::mesh::InForce;
use super::question::{Question, rejected};
use super::{inbound, words};

/// What `REGISTRY_ONLY` means for a host that is not the mesh's.
pub const NOBODY_OUT: &str =
    "the mesh lets nobody out to hosts that it does not know (outboundTrafficPolicy REGISTRY_ONLY)";

/// To a cluster.
pub struct Way<'w> {
    pub cluster: &'w str,
    /// Percent.
    pub share: f64,
    /// None: bytes.
    pub head: Option<&'w RequestHead>,
    pub destination: SocketAddr,
}

pub fn target(question: &mut Question<'_>, way: &Way<'_>) -> anyhow::Result<Target> {
    let mut target = Target {
        share: way.share,
        cluster: way.cluster.to_owned(),
        found: false,
        subset: None,
        policy: None,
        balance: None,
        limits: Vec::new(),
        endpoints: Vec::new(),
        request_headers: Vec::new(),
        proxy: None,
    };
    let Some(message) = question.message::<Cluster>(ResourceType::Cluster, way.cluster)? else {
        return Ok(target);
    };
    let compiled = cluster::compile(&message, &NoFiles, &mut Warnings::default())
        .map_err(|why| rejected(way.cluster, &why))?;
    target.found = true;
    target.subset = text(message.metadata.as_ref(), "istio", "subset");
    target.policy = text(message.metadata.as_ref(), "istio", "config").map(|path| Made {
        object: Some(words::object(&path)),
        rule: None,
        place: text(message.metadata.as_ref(), "leno", "place"),
        name: None,
    });
    target.balance = balance(&compiled.balance);
    target.limits = limits(&compiled);
    let mut used = vec![(ResourceType::Cluster, way.cluster.to_owned())];
    let assignment = match &compiled.discovery {
        Discovery::Static(assignment)
        | Discovery::StrictDns { assignment, .. }
        | Discovery::LogicalDns { assignment, .. } => {
            let message = message.load_assignment.clone().unwrap_or_default();
            Some((Assignment::clone(assignment), message))
        }
        Discovery::Eds(name, _) => {
            used.push((ResourceType::Endpoints, name.clone()));
            assignment(question, name)?
        }
        // The request's host, by the resolver of the proxy's machine.
        Discovery::DynamicForward(_) => None,
        Discovery::Aggregate(members) => {
            for member in members {
                let way = Way {
                    cluster: member,
                    ..*way
                };
                // Of another aggregate there are none.
                if !is_aggregate(question, member)? {
                    append(&mut target.endpoints, self::target(question, &way)?.endpoints);
                }
            }
            None
        }
        Discovery::OriginalDst => {
            let itself = Compiled::at(way.destination);
            let mut told = told(question, &compiled, &itself, way)?;
            if question.target.host.parse::<IpAddr>().is_err() {
                (told.address, told.port) =
                    (Some(question.target.host.clone()), Some(way.destination.port()));
            }
            target.endpoints.push(told);
            None
        }
    };
    if let Some((assignment, message)) = assignment {
        target.endpoints = endpoints(question, &compiled, &assignment, &message, way)?;
    }
    target.proxy = behind(question, &used);
    Ok(target)
}

fn is_aggregate(question: &mut Question<'_>, name: &str) -> anyhow::Result<bool> {
    let Some(message) = question.message::<Cluster>(ResourceType::Cluster, name)? else {
        return Ok(false);
    };
    let compiled =
        cluster::compile(&message, &NoFiles, &mut Warnings::default()).map_err(|why| rejected(name, &why))?;
    Ok(matches!(compiled.discovery, Discovery::Aggregate(_)))
}

/// The priorities of an aggregate's next member come after those that are there.
fn append(all: &mut Vec<Endpoint>, next: Vec<Endpoint>) {
    let first = all
        .iter()
        .map(|endpoint| endpoint.priority + 1)
        .max()
        .unwrap_or(0);
    all.extend(next.into_iter().map(|endpoint| Endpoint {
        priority: first + endpoint.priority,
        ..endpoint
    }));
}

fn assignment(
    question: &mut Question<'_>,
    name: &str,
) -> anyhow::Result<Option<(Assignment, ClusterLoadAssignment)>> {
    let Some(message) = question.message::<ClusterLoadAssignment>(ResourceType::Endpoints, name)? else {
        return Ok(None);
    };
    let compiled = endpoint::compile(&message, &NoFiles, &mut Warnings::default())
        .map_err(|why| rejected(name, &why))?;
    Ok(Some((compiled, message)))
}

/// By priority, in the order in which they are sent.
fn endpoints(
    question: &mut Question<'_>,
    cluster: &cluster::Cluster,
    assignment: &Assignment,
    message: &ClusterLoadAssignment,
    way: &Way<'_>,
) -> anyhow::Result<Vec<Endpoint>> {
    let mut all = Vec::new();
    for (priority, localities) in assignment.priorities.iter().enumerate() {
        let named = message.endpoints.iter();
        let named = named.filter(|locality| locality.priority as usize == priority);
        for (locality, named) in localities.iter().zip(named) {
            let name = named.locality.as_ref().map(|name| {
                let parts = [&name.region, &name.zone, &name.sub_zone];
                let parts: Vec<&str> = parts
                    .into_iter()
                    .map(String::as_str)
                    .take_while(|p| !p.is_empty())
                    .collect();
                parts.join("/")
            });
            for endpoint in &locality.endpoints {
                let told = told(question, cluster, endpoint, way)?;
                all.push(Endpoint {
                    priority,
                    locality: name.clone().unwrap_or_default(),
                    ..told
                });
            }
        }
    }
    Ok(all)
}

fn told(
    question: &mut Question<'_>,
    cluster: &cluster::Cluster,
    endpoint: &Compiled,
    way: &Way<'_>,
) -> anyhow::Result<Endpoint> {
    let transport = transport(cluster, endpoint, way.head);
    let (mut address, mut port) = (Some(endpoint.address.to_string()), None);
    let (mut declared, mut inbound) = (None, None);
    if let Address::Address(Socket::Socket(socket)) = &endpoint.address {
        port = Some(socket.port());
        address = Some(socket.ip().to_string());
        if let Some((member, standing)) = question.mesh.at(socket.ip()) {
            if standing.is_some() {
                address = None;
            }
            declared = standing;
            inbound = inbound::far(question, &member, *socket, (&transport, way.head))?;
        }
    }
    Ok(Endpoint {
        address,
        port,
        workload: endpoint
            .workload
            .as_ref()
            .map(|label| format!("{}.{}", label.name, label.namespace)),
        health: match endpoint.health {
            Health::Healthy => "healthy",
            Health::Unknown => "not checked",
            Health::Unhealthy => "unhealthy",
            Health::Draining => "draining",
            Health::Degraded => "degraded",
        },
        weight: endpoint.weight,
        priority: 0,
        locality: String::new(),
        transport,
        inbound,
        declared,
    })
}

fn transport(cluster: &cluster::Cluster, endpoint: &Compiled, head: Option<&RequestHead>) -> Transport {
    let (http2, offer) = match head {
        None => (false, Offer::Tcp),
        Some(head) => alpn::for_request(cluster.protocol, head),
    };
    let speaks = head.map(|head| match (cluster.protocol, http2) {
        (UpstreamProtocol::Auto, _) => "HTTP by ALPN",
        (_, true) => "HTTP/2",
        (_, false) if head.version == Version::Http10 => "HTTP/1.0",
        (_, false) => "HTTP/1.1",
    });
    match cluster.transport.of(endpoint).tls() {
        None => Transport {
            mode: "plaintext",
            sni: None,
            identities: Vec::new(),
            alpn: Vec::new(),
            speaks,
        },
        Some(tls) => Transport {
            mode: if !tls.common.certificates.is_empty() {
                "mTLS"
            } else {
                "TLS"
            },
            sni: tls.sni.clone(),
            identities: identities(tls),
            alpn: alpn::offered(tls, offer),
            speaks,
        },
    }
}

fn identities(tls: &Arc<UpstreamTls>) -> Vec<String> {
    let sans = tls
        .common
        .validation
        .iter()
        .flat_map(|validation| &validation.sans);
    sans.filter_map(|san| match &san.matcher.pattern {
        Pattern::Exact(name) => Some(name.clone()),
        Pattern::Prefix(_)
        | Pattern::Suffix(_)
        | Pattern::Contains(_)
        | Pattern::Regex(_)
        | Pattern::Present => None,
    })
    .collect()
}

fn balance(policy: &BalancePolicy) -> Option<String> {
    Some(match policy {
        BalancePolicy::RoundRobin { .. } => "round robin".into(),
        BalancePolicy::LeastRequest(settings) if settings.full_scan => "least request of all".into(),
        BalancePolicy::LeastRequest(settings) => format!("least request of {}", settings.choices),
        BalancePolicy::ClientSide(_) => "round robin by reported load".into(),
        BalancePolicy::PeakEwma(_) => "the quicker of two".into(),
        BalancePolicy::Random => "random".into(),
        BalancePolicy::RingHash { minimum, .. } => format!("ring hash of {minimum}"),
        BalancePolicy::Maglev { table_size, .. } => format!("Maglev of {table_size}"),
        BalancePolicy::ClusterProvided => return None,
    })
}

/// What is not Istio's default.
fn limits(cluster: &cluster::Cluster) -> Vec<String> {
    let mut said = Vec::new();
    let Thresholds {
        max_connections,
        max_pending_requests,
        max_requests,
        max_retries,
        retry_budget,
        max_connections_per_host,
        track_remaining: _,
    } = cluster.limits.default;
    let max_retries = match retry_budget {
        None => max_retries,
        Some(budget) => {
            said.push(format!(
                "retries for at most {} % of the requests",
                budget.percent
            ));
            u32::MAX
        }
    };
    for (limit, what) in [
        (max_connections, "connections"),
        (max_connections_per_host, "connections to each endpoint"),
        (max_pending_requests, "pending requests"),
        (max_requests, "requests"),
        (max_retries, "retries at once"),
    ] {
        if limit != u32::MAX {
            said.push(format!("at most {limit} {what}"));
        }
    }
    if let Some(most) = cluster.max_requests_per_connection {
        said.push(format!("at most {most} requests a connection"));
    }
    if let Some(outlier) = &cluster.outlier {
        let after: Vec<String> = [
            (outlier.consecutive_5xx, "5xx"),
            (outlier.consecutive_gateway_failure, "502-504"),
        ]
        .into_iter()
        .filter(|(in_a_row, _)| in_a_row.limit > 0 && in_a_row.enforcing > 0)
        .map(|(in_a_row, what)| format!("{} × {what}", in_a_row.limit))
        .collect();
        let time = words::span(outlier.base_ejection_time);
        said.push(format!("out for {time} after {}", after.join(" or ")));
    }
    said
}

/// What the caller's own proxy has of it, if that is something else.
fn behind(question: &mut Question<'_>, used: &[(ResourceType, String)]) -> Option<String> {
    let from = question.from.clone();
    let mut said = used.iter().filter_map(|(kind, name)| {
        let what = if *kind == ResourceType::Cluster {
            "cluster"
        } else {
            "endpoints"
        };
        match question.mesh.in_force(&from, *kind, name)? {
            InForce::Same => None,
            InForce::NotYet => Some(format!("{what} not asked for yet")),
            InForce::Older { version } => Some(format!("{what} still of version {version}")),
            InForce::Rejected { error } => Some(format!("{what} rejected: {error}")),
        }
    });
    said.next()
}

/// What becomes of it, where no route has said so.
pub fn outcome(question: &Question<'_>, explanation: Explanation) -> Explanation {
    let targets: Vec<&Target> = explanation
        .targets
        .iter()
        .filter(|target| target.share > 0.0)
        .collect();
    let is_http = explanation
        .listener
        .as_ref()
        .is_some_and(|l| l.taken_as == "HTTP");
    let status = is_http.then_some(503);
    if targets.iter().all(|target| target.cluster == "BlackHoleCluster") {
        return refused(question, explanation);
    }
    let open: Vec<&Target> = targets
        .iter()
        .copied()
        .filter(|target| !target.endpoints.is_empty())
        .collect();
    if open.is_empty() {
        if targets.iter().all(|target| !target.found) {
            let said = format!(
                "there is no cluster {}",
                targets.first().map_or("", |t| t.cluster.as_str())
            );
            return explanation.end(Kind::NoEndpoint, status, said);
        }
        if question.mesh.runs() {
            return explanation.end(
                Kind::NoEndpoint,
                status,
                "no endpoint is healthy, or none is there",
            );
        }
        let said = "no endpoint known offline: workloads register when they run";
        return explanation.end(Kind::Forwarded, None, said);
    }
    let doors = || open.iter().flat_map(|target| &target.endpoints);
    let refusing = doors().filter(|e| e.inbound.as_ref().is_some_and(|far| far.refused.is_some()));
    if let (Some(first), true) = (refusing.clone().next(), refusing.count() == doors().count()) {
        let far = first.inbound.as_ref();
        let own = far.and_then(|far| far.status);
        let status = status.map(|status| own.unwrap_or(status));
        let why = far.and_then(|far| far.refused.clone());
        return explanation.end(Kind::Refused, status, why.unwrap_or_default());
    }
    let to: Vec<String> = open
        .iter()
        .map(|target| format!("{} {}", words::shown(target.share), short(target)))
        .collect();
    let said = match to.as_slice() {
        [_] => format!(
            "to {}",
            open.first().map_or_else(String::new, |target| short(target))
        ),
        several => several.join(", "),
    };
    explanation.end(Kind::Forwarded, None, said)
}

fn refused(question: &Question<'_>, explanation: Explanation) -> Explanation {
    let addresses = explanation.name.iter().flat_map(|name| &name.addresses);
    let address = addresses.filter_map(|address| address.parse().ok()).next();
    let said = match address {
        Some(address) => {
            let ports: Vec<String> = question.mesh.ports(address).iter().map(u16::to_string).collect();
            let has = match ports.as_slice() {
                [] => String::new(),
                ports => format!(": it has {}", ports.join(", ")),
            };
            let (host, port) = (&question.target.host, question.target.port);
            format!("{host} is not served on port {port}{has}")
        }
        None => NOBODY_OUT.into(),
    };
    explanation.end(Kind::Refused, None, said)
}

/// `reviews v2`, or the cluster.
fn short(target: &Target) -> String {
    let host = target.cluster.rsplit('|').next().unwrap_or(&target.cluster);
    match &target.subset {
        Some(subset) => format!("{host}, subset {subset}"),
        None => host.to_owned(),
    }
}

fn text(metadata: Option<&Metadata>, filter: &str, field: &str) -> Option<String> {
    let value = metadata?.filter_metadata.get(filter)?.fields.get(field)?;
    match &value.kind {
        Some(Value::StringValue(text)) => Some(text.clone()),
        _ => None,
    }
}
