//! RequestAuthentication: whose tokens workloads take, and by which keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::in_force::{Policies, PolicyTarget, Targeted};
use crate::name::Origin;

/// All policies of the mesh.
pub type Authentication = Policies<RequestAuthentication>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestAuthentication {
    pub origin: Origin,
    pub target: PolicyTarget,
    pub rules: Vec<JwtRule>,
}

/// One issuer's tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JwtRule {
    pub issuer: String,
    /// One of them; none: any.
    pub audiences: Vec<String>,
    pub keys: Keys,
    /// A header's name, and what stands before the token in it.
    pub from_headers: Vec<(String, String)>,
    pub from_params: Vec<String>,
    pub from_cookies: Vec<String>,
    pub payload_header: Option<String>,
    /// The header, and the claim that is written into it.
    pub claim_headers: Vec<(String, String)>,
    /// The application sees the token.
    pub forward: bool,
    /// Claims that are lists with spaces between their items.
    pub divided_claims: Vec<String>,
    /// A request without such a token is refused.
    pub required: bool,
    /// Where the rule is written.
    pub place: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Keys {
    /// A JSON Web Key Set, reduced.
    Inline(Arc<str>),
    /// The control plane fetches them; the time is for one attempt.
    Fetched(KeySource, Duration),
}

/// Where keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeySource {
    /// A JSON Web Key Set.
    Uri(Arc<str>),
    /// An OpenID provider, whose configuration says where its set is.
    Issuer(Arc<str>),
}

/// What is known of a source: the last good keys, and what is wrong with it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyNews {
    /// A JSON Web Key Set, reduced.
    pub keys: Option<Arc<str>>,
    pub trouble: Option<Arc<str>>,
}

// === impl RequestAuthentication ===

impl Targeted for RequestAuthentication {
    fn target(&self) -> &PolicyTarget {
        &self.target
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }
}

impl RequestAuthentication {
    /// The name of a rule where there may be several policies: `ns[default]-tokens[a]-rule[0]`.
    pub fn rule_name(&self, index: usize) -> String {
        format!(
            "ns[{}]-tokens[{}]-rule[{index}]",
            self.origin.namespace, self.origin.name
        )
    }
}

// === impl KeySource ===

impl std::fmt::Display for KeySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uri(uri) => f.write_str(uri),
            Self::Issuer(issuer) => write!(f, "the OpenID provider {issuer}"),
        }
    }
}

/// Of attempts at one place the one that may take longest.
pub(crate) fn longest(sources: impl Iterator<Item = (KeySource, Duration)>) -> BTreeMap<KeySource, Duration> {
    let mut all: BTreeMap<KeySource, Duration> = BTreeMap::new();
    for (source, timeout) in sources {
        let known = all.entry(source).or_default();
        *known = (*known).max(timeout);
    }
    all
}
