//! Requests that hit and miss what rules say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use leno_model::AuthorizationRule;
use leno_model::authorization::{Attribute, AuthorizationCondition, Subject};

/// All that a rule may look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Facts {
    /// Names in the client's certificate; none: plaintext.
    pub(super) identities: Vec<String>,
    pub(super) source: Ipv4Addr,
    pub(super) remote: Ipv4Addr,
    pub(super) destination: SocketAddrV4,
    pub(super) server_name: Option<String>,
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    /// What a filter has noted: namespace and field.
    pub(super) noted: BTreeMap<(String, String), String>,
    /// Claims of a token, by their paths.
    pub(super) claims: BTreeMap<Vec<String>, String>,
}

impl Facts {
    /// Somebody asks for this path.
    pub(super) fn asking(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::nothing()
        }
    }

    fn nothing() -> Self {
        Self {
            identities: Vec::new(),
            source: Ipv4Addr::LOCALHOST,
            remote: Ipv4Addr::new(203, 0, 113, 1),
            destination: SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 2), 7),
            server_name: None,
            method: "GET".into(),
            host: "somewhere.example".into(),
            path: "/somewhere".into(),
            headers: BTreeMap::new(),
            noted: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }

    /// Something of this kind that no case speaks of.
    fn miss(&mut self, subject: &Subject) {
        let nothing = Self::nothing();
        let Subject::Attribute(attribute) = subject else {
            match subject {
                Subject::Host => self.host = nothing.host,
                Subject::Method => self.method = "OTHER".into(),
                _ => self.path = nothing.path,
            }
            return;
        };
        match attribute {
            Attribute::SourcePrincipal
            | Attribute::SourceNamespace
            | Attribute::SourceServiceAccount
            | Attribute::SourceTrustDomain => {
                self.identities = vec!["spiffe://elsewhere/ns/elsewhere/sa/nobody".into()];
            }
            Attribute::SourceIp => self.source = nothing.source,
            Attribute::RemoteIp => self.remote = nothing.remote,
            Attribute::DestinationIp => self.destination.set_ip(*nothing.destination.ip()),
            Attribute::DestinationPort => self.destination.set_port(nothing.destination.port()),
            Attribute::ServerName => self.server_name = None,
            Attribute::Header(name) => drop(self.headers.remove(name)),
            Attribute::Metadata { .. } => self.noted.clear(),
            Attribute::RequestPrincipal
            | Attribute::Audiences
            | Attribute::Presenter
            | Attribute::Claim(_) => self.claims.clear(),
        }
    }

    fn hit(&mut self, subject: &Subject, value: &str) {
        let text = example(value);
        let claim = |path: &[&str]| path.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let Subject::Attribute(attribute) = subject else {
            match subject {
                Subject::Host => self.host = text,
                Subject::Method => self.method = text,
                _ => {
                    let path = text.replace("{**}", "any/number").replace("{*}", "one");
                    self.path = format!("/{}", path.trim_start_matches('/'));
                }
            }
            return;
        };
        match attribute {
            Attribute::SourcePrincipal => self.identities.push(format!("spiffe://{text}")),
            Attribute::SourceNamespace => self.identities.push(format!("spiffe://any/ns/{text}/sa/any")),
            Attribute::SourceServiceAccount => {
                let (namespace, account) = text.split_once('/').unwrap_or(("foo", &text));
                self.identities
                    .push(format!("spiffe://any/ns/{namespace}/sa/{account}"));
            }
            Attribute::SourceTrustDomain => self.identities.push(format!("spiffe://{text}/ns/any/sa/any")),
            Attribute::SourceIp => self.source = address(value),
            Attribute::RemoteIp => self.remote = address(value),
            Attribute::DestinationIp => self.destination.set_ip(address(value)),
            Attribute::DestinationPort => self.destination.set_port(value.parse().unwrap()),
            Attribute::ServerName => self.server_name = Some(text),
            Attribute::Header(name) => drop(self.headers.insert(name.clone(), text)),
            Attribute::Metadata { filter, field } => {
                self.noted.insert((filter.clone(), field.clone()), text);
            }
            Attribute::RequestPrincipal => {
                let (issuer, subject) = match value.rsplit_once('/') {
                    Some((issuer, subject)) => (example(issuer), example(subject)),
                    None => (
                        text,
                        if value.ends_with('*') {
                            "any".to_owned()
                        } else {
                            String::new()
                        },
                    ),
                };
                self.claims.insert(claim(&["iss"]), issuer);
                self.claims.insert(claim(&["sub"]), subject);
            }
            Attribute::Audiences => drop(self.claims.insert(claim(&["aud"]), text)),
            Attribute::Presenter => drop(self.claims.insert(claim(&["azp"]), text)),
            Attribute::Claim(path) => drop(self.claims.insert(path.clone(), text)),
        }
    }
}

/// Something that a value matches.
fn example(value: &str) -> String {
    match value {
        "*" => "any".into(),
        _ => value
            .replace("{*}", "\u{1}")
            .replace("{**}", "\u{2}")
            .replace('*', "x")
            .replace('\u{1}', "{*}")
            .replace('\u{2}', "{**}"),
    }
}

fn address(block: &str) -> Ipv4Addr {
    match block.split_once('/') {
        Some((network, _)) => {
            let network: Ipv4Addr = network.parse().unwrap();
            Ipv4Addr::from(u32::from(network) + 1)
        }
        None => block.parse().unwrap(),
    }
}

pub(super) fn requests(rules: &[AuthorizationRule]) -> Vec<Facts> {
    let mut all = vec![Facts::nothing()];
    for rule in rules {
        let some = |alternatives: &[Vec<AuthorizationCondition>]| match alternatives {
            [] => vec![Vec::new()],
            several => several.to_vec(),
        };
        for source in some(&rule.sources) {
            for operation in some(&rule.operations) {
                let conditions = [source.as_slice(), operation.as_slice(), rule.when.as_slice()].concat();
                of_conditions(&conditions, &mut all);
            }
        }
    }
    all.sort();
    all.dedup();
    all
}

/// What one condition is to be given.
#[derive(Clone, Copy)]
enum Turn<'c> {
    Hit(&'c str),
    Miss,
}

fn of_conditions(conditions: &[AuthorizationCondition], into: &mut Vec<Facts>) {
    let usual = |condition: &'_ AuthorizationCondition| condition.values.first().cloned();
    let made = |special: Option<(usize, Turn<'_>)>| {
        let mut facts = Facts::nothing();
        for (i, condition) in conditions.iter().enumerate() {
            match special.filter(|(at, _)| *at == i) {
                Some((_, Turn::Miss)) => facts.miss(&condition.subject),
                Some((_, Turn::Hit(value))) => facts.hit(&condition.subject, value),
                None => {
                    if let Some(value) = usual(condition) {
                        facts.hit(&condition.subject, &value);
                    }
                }
            }
        }
        facts
    };
    let base = made(None);
    let plaintext = Facts {
        identities: Vec::new(),
        server_name: None,
        ..base.clone()
    };
    let with_query = Facts {
        path: format!("{}?a=/b", base.path),
        ..base.clone()
    };
    let loud = Facts {
        host: base.host.to_uppercase(),
        ..base.clone()
    };
    let stranger = Facts {
        identities: vec!["spiffe://any/ns/any/sa/any".into()],
        ..base.clone()
    };
    into.extend([base, plaintext, with_query, loud, stranger]);
    for (i, condition) in conditions.iter().enumerate() {
        into.push(made(Some((i, Turn::Miss))));
        let each = condition.values.iter().chain(&condition.not_values);
        into.extend(each.map(|value| made(Some((i, Turn::Hit(value))))));
    }
}
