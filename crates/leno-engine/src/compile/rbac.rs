//! `envoy.config.rbac.v3.RBAC`: who may do what.

mod index;

use std::cell::Cell;
use std::collections::BTreeSet;

use ipnet::IpNet;
use leno_cel::Program;

use super::Rejection;
use super::address;
use super::at::{At, refuse};
use super::expression;
use super::matcher::input::Input;
use super::matcher::metadata::{self, FilterStateMatcher, MetadataMatcher};
use super::matcher::tree::{self, Grammar, Tree};
use super::matcher::{self, HeaderMatcher, Pattern, StringMatcher};
use super::pb::{matcher as matcher_pb, protobuf, rbac as pb, types, xds_matcher};
use super::uri_template;

pub(crate) use index::{Index, namespace};

/// So many alternatives or more are looked up together.
const MANY: usize = 8;

/// What decides.
#[derive(Clone, Debug, PartialEq)]
pub enum Rules {
    Policies(Rbac),
    /// What nothing is said of is denied.
    Tree {
        tree: Tree<Leaf>,
        /// Some of its actions are to log.
        logs: bool,
    },
}

impl Rules {
    /// It says what logs are to take.
    pub fn logs(&self) -> bool {
        match self {
            Self::Policies(rbac) => rbac.action == Action::Log,
            Self::Tree { logs, .. } => *logs,
        }
    }
}

/// Of a tree of matchers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub name: String,
    pub action: Action,
}

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Requests,
    Connections,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rbac {
    pub action: Action,
    /// In the order of their names, in which Envoy tries them too.
    pub policies: Vec<(String, Policy)>,
    /// None: there are few.
    pub(crate) index: Option<Box<Index>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Only what a policy matches is allowed.
    Allow,
    /// What a policy matches is denied.
    Deny,
    /// Everything is allowed.
    Log,
}

/// Matches where one of the permissions and one of the principals does, and the condition holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub permissions: Vec<Permission>,
    pub principals: Vec<Principal>,
    pub condition: Option<Program>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Permission {
    Any,
    And(Vec<Permission>),
    Or(Vec<Permission>),
    Not(Box<Permission>),
    Header(HeaderMatcher),
    /// The path without its query.
    Path(StringMatcher),
    /// Exactly one of these.
    Paths(Names),
    DestinationIp(IpNet),
    /// Half open.
    DestinationPorts {
        start: u32,
        end: u32,
    },
    ServerName(StringMatcher),
    Metadata(MetadataMatcher),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Principal {
    Any,
    And(Vec<Principal>),
    Or(Vec<Principal>),
    Not(Box<Principal>),
    /// A peer over TLS; with a name, one whose certificate has it.
    Authenticated(Option<StringMatcher>),
    /// One whose certificate has exactly one of these names.
    AuthenticatedAs(Names),
    /// The other end of the connection.
    DirectRemoteIp(IpNet),
    /// The client, as far as `x-forwarded-for` is trusted.
    RemoteIp(IpNet),
    Header(HeaderMatcher),
    Path(StringMatcher),
    Metadata(MetadataMatcher),
    FilterState(FilterStateMatcher),
}

/// Many texts of which a value may be one.
pub type Names = BTreeSet<Box<[u8]>>;

/// None: neither is there, and everything is allowed.
pub(crate) fn rules(
    at: &At<'_>,
    subject: Subject,
    (field, rules): (&'static str, Option<&pb::Rbac>),
    (tree_field, tree): (&'static str, Option<&xds_matcher::Matcher>),
) -> Result<Option<Rules>, Rejection> {
    if let Some(tree) = tree {
        if rules.is_some() {
            at.field(field).warn("the matcher decides instead, as in Envoy");
        }
        return self::tree(&at.field(tree_field), subject, tree).map(Some);
    }
    let Some(rules) = rules else {
        return Ok(None);
    };
    let at = at.field(field);
    let compiled = rbac(&at, rules)?;
    if subject == Subject::Connections && compiled.names_headers() {
        return Err(at.reject("a connection has no headers"));
    }
    Ok(Some(Rules::Policies(compiled)))
}

fn tree(at: &At<'_>, subject: Subject, message: &xds_matcher::Matcher) -> Result<Rules, Rejection> {
    let logs = Cell::new(false);
    let leaf = |at: &At<'_>, any: &protobuf::Any| {
        let leaf = self::leaf(at, any)?;
        logs.set(logs.get() || leaf.action == Action::Log);
        Ok(leaf)
    };
    let tree = tree::tree(
        at,
        message,
        &Grammar {
            allows: match subject {
                Subject::Requests => is_of_request,
                Subject::Connections => is_of_connection,
            },
            place: match subject {
                Subject::Requests => "RBAC of requests",
                Subject::Connections => "RBAC of connections",
            },
            action: &leaf,
        },
    )?;
    Ok(Rules::Tree {
        tree,
        logs: logs.get(),
    })
}

fn is_of_request(input: &Input) -> bool {
    let noted = matches!(
        input,
        Input::DynamicMetadata { .. } | Input::FilterState(_) | Input::Attributes
    );
    noted || is_of_connection(input) || matches!(input, Input::RequestHeader(_))
}

/// Envoy takes these and no others.
fn is_of_connection(input: &Input) -> bool {
    match input {
        Input::DestinationIp
        | Input::DestinationPort
        | Input::SourceIp
        | Input::SourcePort
        | Input::DirectSourceIp
        | Input::ServerName
        | Input::UriSan
        | Input::DnsSan
        | Input::Subject => true,
        Input::RequestHeader(_)
        | Input::QueryParameter(_)
        | Input::SourceType
        | Input::TransportProtocol
        | Input::ApplicationProtocol
        | Input::DynamicMetadata { .. }
        | Input::FilterState(_)
        | Input::Attributes
        | Input::EndpointMetadata { .. }
        | Input::LocalityMetadata { .. } => false,
    }
}

fn leaf(at: &At<'_>, any: &protobuf::Any) -> Result<Leaf, Rejection> {
    let pb::Action { name, action } = &at.unpack::<pb::Action>(any)?;
    at.not_empty("name", name)?;
    Ok(Leaf {
        name: name.clone(),
        action: self::action(at, *action)?,
    })
}

fn action(at: &At<'_>, action: i32) -> Result<Action, Rejection> {
    Ok(match at.choice("action", action)? {
        pb::rbac::Action::Allow => Action::Allow,
        pb::rbac::Action::Deny => Action::Deny,
        pb::rbac::Action::Log => Action::Log,
    })
}

fn rbac(at: &At<'_>, message: &pb::Rbac) -> Result<Rbac, Rejection> {
    let pb::Rbac {
        action,
        policies,
        audit_logging_options,
    } = message;
    refuse!(at; audit_logging_options);
    let mut compiled = Vec::with_capacity(policies.len());
    for (name, policy) in policies {
        compiled.push((name.clone(), self::policy(&at.entry("policies", name), policy)?));
    }
    compiled.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Rbac {
        action: self::action(at, *action)?,
        index: Index::new(&compiled),
        policies: compiled,
    })
}

impl Rbac {
    /// Whether a rule looks at headers, which a connection has not.
    fn names_headers(&self) -> bool {
        self.policies.iter().any(|(_, policy)| {
            policy.permissions.iter().any(Permission::names_headers)
                || policy.principals.iter().any(Principal::names_headers)
        })
    }
}

impl Permission {
    fn names_headers(&self) -> bool {
        match self {
            Self::Header(_) => true,
            Self::And(all) | Self::Or(all) => all.iter().any(Self::names_headers),
            Self::Not(inner) => inner.names_headers(),
            _ => false,
        }
    }
}

impl Principal {
    fn names_headers(&self) -> bool {
        match self {
            Self::Header(_) => true,
            Self::And(all) | Self::Or(all) => all.iter().any(Self::names_headers),
            Self::Not(inner) => inner.names_headers(),
            _ => false,
        }
    }
}

fn policy(at: &At<'_>, message: &pb::Policy) -> Result<Policy, Rejection> {
    let pb::Policy {
        permissions,
        principals,
        condition,
        checked_condition,
        cel_config,
    } = message;
    let options = expression::options(cel_config.as_ref());
    // Envoy does not look at it: what it says would be left out.
    refuse!(at; checked_condition);
    let condition = match condition {
        None => None,
        Some(parsed) => Some(expression::parsed(&at.field("condition"), parsed, options)?),
    };
    some(at, "permissions", permissions)?;
    some(at, "principals", principals)?;
    Ok(Policy {
        permissions: at.each("permissions", permissions, permission)?,
        principals: at.each("principals", principals, principal)?,
        condition,
    })
}

/// An empty set is a mistake, as in Envoy: it would match nothing, or everything.
fn some<T>(at: &At<'_>, field: &'static str, items: &[T]) -> Result<(), Rejection> {
    match items {
        [] => Err(at.field(field).reject("required")),
        _ => Ok(()),
    }
}

fn permission(at: &At<'_>, message: &pb::Permission) -> Result<Permission, Rejection> {
    use pb::permission::{Rule, Set};
    let pb::Permission { rule } = message;
    Ok(match at.required("rule", rule)? {
        Rule::AndRules(Set { rules }) => {
            let at = at.field("and_rules");
            some(&at, "rules", rules)?;
            Permission::And(at.each("rules", rules, permission)?)
        }
        Rule::OrRules(Set { rules }) => {
            let at = at.field("or_rules");
            some(&at, "rules", rules)?;
            permissions_or(at.each("rules", rules, permission)?)
        }
        Rule::NotRule(inner) => Permission::Not(Box::new(permission(&at.field("not_rule"), inner)?)),
        Rule::Any(true) => Permission::Any,
        Rule::Any(false) => return Err(at.field("any").reject("must be true")),
        Rule::Header(header) => Permission::Header(matcher::header(&at.field("header"), header)?),
        Rule::UrlPath(path) => Permission::Path(self::path(&at.field("url_path"), path)?),
        Rule::DestinationIp(range) => {
            Permission::DestinationIp(address::cidr(&at.field("destination_ip"), range)?)
        }
        Rule::DestinationPort(port) => {
            let start = u32::from(at.port("destination_port", *port)?);
            Permission::DestinationPorts {
                start,
                end: start + 1,
            }
        }
        Rule::DestinationPortRange(types::Int32Range { start, end }) => {
            let at = at.field("destination_port_range");
            match (u32::try_from(*start), u32::try_from(*end)) {
                (Ok(start), Ok(end)) if start < end && end <= 65_536 => {
                    Permission::DestinationPorts { start, end }
                }
                _ => return Err(at.reject(format!("not ports: {start} to {end}"))),
            }
        }
        Rule::RequestedServerName(name) => {
            Permission::ServerName(matcher::string(&at.field("requested_server_name"), name)?)
        }
        Rule::Metadata(metadata) => {
            Permission::Metadata(metadata::metadata(&at.field("metadata"), metadata)?)
        }
        Rule::SourcedMetadata(sourced) => {
            Permission::Metadata(self::sourced(&at.field("sourced_metadata"), sourced)?)
        }
        Rule::Matcher(_) => return Err(at.field("matcher").reject("not supported")),
        Rule::UriTemplate(template) => {
            Permission::Path(uri_template::matching(&at.field("uri_template"), template)?)
        }
    })
}

fn principal(at: &At<'_>, message: &pb::Principal) -> Result<Principal, Rejection> {
    use pb::principal::{Authenticated, Identifier, Set};
    let pb::Principal { identifier } = message;
    Ok(match at.required("identifier", identifier)? {
        Identifier::AndIds(Set { ids }) => {
            let at = at.field("and_ids");
            some(&at, "ids", ids)?;
            Principal::And(at.each("ids", ids, principal)?)
        }
        Identifier::OrIds(Set { ids }) => {
            let at = at.field("or_ids");
            some(&at, "ids", ids)?;
            principals_or(at.each("ids", ids, principal)?)
        }
        Identifier::NotId(inner) => Principal::Not(Box::new(principal(&at.field("not_id"), inner)?)),
        Identifier::Any(true) => Principal::Any,
        Identifier::Any(false) => return Err(at.field("any").reject("must be true")),
        Identifier::Authenticated(Authenticated { principal_name }) => {
            let at = at.field("authenticated");
            Principal::Authenticated(match principal_name {
                None => None,
                Some(name) => Some(matcher::string(&at.field("principal_name"), name)?),
            })
        }
        Identifier::SourceIp(range) => {
            Principal::DirectRemoteIp(address::cidr(&at.field("source_ip"), range)?)
        }
        Identifier::DirectRemoteIp(range) => {
            Principal::DirectRemoteIp(address::cidr(&at.field("direct_remote_ip"), range)?)
        }
        Identifier::RemoteIp(range) => Principal::RemoteIp(address::cidr(&at.field("remote_ip"), range)?),
        Identifier::Header(header) => Principal::Header(matcher::header(&at.field("header"), header)?),
        Identifier::UrlPath(path) => Principal::Path(self::path(&at.field("url_path"), path)?),
        Identifier::Metadata(metadata) => {
            Principal::Metadata(metadata::metadata(&at.field("metadata"), metadata)?)
        }
        Identifier::FilterState(state) => {
            Principal::FilterState(metadata::filter_state(&at.field("filter_state"), state)?)
        }
        Identifier::SourcedMetadata(sourced) => {
            Principal::Metadata(self::sourced(&at.field("sourced_metadata"), sourced)?)
        }
        Identifier::Custom(_) => return Err(at.field("custom").reject("not supported")),
    })
}

/// Exact paths, where there are many, as one set.
fn permissions_or(mut alternatives: Vec<Permission>) -> Permission {
    let exact = |one: &Permission| match one {
        Permission::Path(path) => name(path),
        _ => None,
    };
    match gathered(&mut alternatives, exact) {
        None => Permission::Or(alternatives),
        Some(names) if alternatives.is_empty() => Permission::Paths(names),
        Some(names) => {
            alternatives.push(Permission::Paths(names));
            Permission::Or(alternatives)
        }
    }
}

/// The same with exact names of certificates.
pub(crate) fn principals_or(mut alternatives: Vec<Principal>) -> Principal {
    let exact = |one: &Principal| match one {
        Principal::Authenticated(Some(text)) => name(text),
        _ => None,
    };
    match gathered(&mut alternatives, exact) {
        None => Principal::Or(alternatives),
        Some(names) if alternatives.is_empty() => Principal::AuthenticatedAs(names),
        Some(names) => {
            alternatives.push(Principal::AuthenticatedAs(names));
            Principal::Or(alternatives)
        }
    }
}

/// Takes out what is exact; None: not worth it, and nothing is taken.
fn gathered<T>(alternatives: &mut Vec<T>, exact: impl Fn(&T) -> Option<Box<[u8]>>) -> Option<Names> {
    let names: Names = alternatives.iter().filter_map(&exact).collect();
    if names.len() < MANY {
        return None;
    }
    alternatives.retain(|one| exact(one).is_none());
    Some(names)
}

fn name(text: &StringMatcher) -> Option<Box<[u8]>> {
    match &text.pattern {
        Pattern::Exact(exact) if !text.ignore_case => Some(exact.as_bytes().into()),
        _ => None,
    }
}

fn sourced(at: &At<'_>, message: &pb::SourcedMetadata) -> Result<MetadataMatcher, Rejection> {
    let pb::SourcedMetadata {
        metadata_matcher,
        metadata_source,
    } = message;
    match at.choice("metadata_source", *metadata_source)? {
        pb::MetadataSource::Dynamic => {}
        pb::MetadataSource::Route => {
            return Err(at.field("metadata_source").reject("ROUTE is not supported"));
        }
    }
    let matcher = at.required("metadata_matcher", metadata_matcher)?;
    metadata::metadata(&at.field("metadata_matcher"), matcher)
}

fn path(at: &At<'_>, message: &matcher_pb::PathMatcher) -> Result<StringMatcher, Rejection> {
    use matcher_pb::path_matcher::Rule;
    let matcher_pb::PathMatcher { rule } = message;
    let Rule::Path(path) = at.required("path", rule)?;
    matcher::string(&at.field("path"), path)
}
