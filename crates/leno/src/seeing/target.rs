//! Whom a name on the command line means.

use leno_proto::control::{Edge, Peer, ProxyStatus};

/// `reviews-v1`, `svc/reviews.default`, `ns/default`, or only the kind: `svc`, `ns`, `workload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: Kind,
    /// Empty: all of the kind.
    pub name: String,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A workload or a service, whichever has the name.
    Any,
    Workload,
    Service,
    Namespace,
}

// === impl Target ===

impl Target {
    pub fn all() -> Self {
        Self {
            kind: Kind::Any,
            name: String::new(),
            text: String::new(),
        }
    }

    /// For clap.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None if kind(text).is_some() => (Some(text), ""),
            None => (None, text),
        };
        let kind = match kind {
            None => Kind::Any,
            Some(said) => self::kind(said).ok_or_else(|| {
                format!("`{said}` is no kind of target: write svc/NAME, workload/NAME or ns/NAMESPACE")
            })?,
        };
        if text.is_empty() || (text.contains('/') && name.is_empty()) {
            return Err("a name is missing: write NAME, svc/NAME, workload/NAME or ns/NAMESPACE".into());
        }
        Ok(Self {
            kind,
            name: name.to_owned(),
            text: text.to_owned(),
        })
    }

    /// As the control plane understands it.
    pub fn as_str(&self) -> &str {
        match self.name.as_str() {
            "" => "",
            _ => &self.text,
        }
    }

    /// Within this namespace, unless it names one.
    pub fn in_namespace(mut self, namespace: Option<&str>) -> Self {
        match namespace {
            Some(namespace) if self.name.is_empty() => {
                self.kind = Kind::Namespace;
                self.name = namespace.to_owned();
                self.text = format!("ns/{namespace}");
            }
            Some(namespace) if self.kind != Kind::Namespace && !self.name.contains('.') => {
                self.name = format!("{}.{namespace}", self.name);
                self.text = format!("{}.{namespace}", self.text);
            }
            _ => {}
        }
        self
    }

    pub fn is_source(&self, edge: &Edge) -> bool {
        self.is_peer(edge.source.as_ref())
    }

    pub fn is_destination(&self, edge: &Edge) -> bool {
        let service = match self.kind {
            Kind::Any | Kind::Service => is_host(&self.name, &edge.destination_service),
            Kind::Workload => false,
            Kind::Namespace => namespace_of(&edge.destination_service) == Some(self.name.as_str()),
        };
        service || self.is_peer(edge.destination.as_ref())
    }

    pub fn is_proxy(&self, proxy: &ProxyStatus) -> bool {
        let namespace = proxy
            .workload
            .rsplit_once('.')
            .map_or("", |(_, namespace)| namespace);
        let peer = Peer {
            app: proxy.service.clone(),
            workload: proxy.workload_name.clone(),
            namespace: namespace.to_owned(),
            ..Peer::default()
        };
        self.is_peer(Some(&peer))
    }

    fn is_peer(&self, peer: Option<&Peer>) -> bool {
        if self.name.is_empty() {
            return true;
        }
        let Some(peer) = peer else {
            return false;
        };
        let named = |own: &str| !own.is_empty() && is_name(&self.name, own, &peer.namespace);
        match self.kind {
            Kind::Any => named(&peer.workload) || named(&peer.app),
            Kind::Workload => named(&peer.workload),
            Kind::Service => named(&peer.app),
            Kind::Namespace => self.name == peer.namespace,
        }
    }
}

fn kind(text: &str) -> Option<Kind> {
    Some(match text {
        "svc" | "service" | "services" => Kind::Service,
        "workload" | "workloads" | "deploy" | "deployment" => Kind::Workload,
        "ns" | "namespace" | "namespaces" => Kind::Namespace,
        _ => return None,
    })
}

/// Alone, or with the namespace after a dot.
fn is_name(text: &str, name: &str, namespace: &str) -> bool {
    let rest = text.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.') == Some(namespace))
}

/// `reviews`, `reviews.default` or the whole host.
fn is_host(text: &str, host: &str) -> bool {
    if host.is_empty() || text.is_empty() {
        return text.is_empty();
    }
    match host.split_once(".svc.") {
        Some((short, _)) => {
            let name = short.split_once('.').map_or(short, |(name, _)| name);
            [name, short, host].contains(&text)
        }
        None => text == host,
    }
}

/// Of a service of the cluster.
fn namespace_of(host: &str) -> Option<&str> {
    let (short, _) = host.split_once(".svc.")?;
    Some(short.split_once('.')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge() -> Edge {
        let peer = |app: &str, workload: &str| {
            Some(Peer {
                app: app.into(),
                workload: workload.into(),
                namespace: "default".into(),
                ..Peer::default()
            })
        };
        Edge {
            source: peer("productpage", "productpage-v1"),
            destination: peer("reviews", "reviews-v2"),
            destination_service: "reviews.default.svc.cluster.local".into(),
            ..Edge::default()
        }
    }

    #[test]
    fn names_mean_workloads_services_and_namespaces() {
        let edge = edge();
        let is = |text: &str| Target::parse(text).unwrap().is_destination(&edge);
        for text in [
            "reviews",
            "reviews.default",
            "reviews-v2",
            "reviews-v2.default",
            "svc/reviews",
            "svc/reviews.default.svc.cluster.local",
            "workload/reviews-v2",
            "ns/default",
            "svc",
        ] {
            assert!(is(text), "{text}");
        }
        for text in [
            "review",
            "reviews-v1",
            "reviews.other",
            "workload/reviews",
            "svc/reviews-v2",
            "ns/other",
        ] {
            assert!(!is(text), "{text}");
        }
        assert!(Target::parse("productpage-v1").unwrap().is_source(&edge));
    }

    #[test]
    fn a_namespace_holds_for_what_names_none() {
        let with = |text: &str| Target::parse(text).unwrap().in_namespace(Some("bank"));
        assert_eq!(with("reviews").as_str(), "reviews.bank");
        assert_eq!(with("svc/reviews.default").as_str(), "svc/reviews.default");
        assert_eq!(Target::all().in_namespace(Some("bank")).as_str(), "ns/bank");
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for text in ["", "svc/", "pod/x"] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
