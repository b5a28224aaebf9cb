//! security.istio.io RequestAuthentication: whose JSON Web Tokens (RFC 7519) are taken, and what becomes of them.

use serde::Deserialize;

use super::authorization_policy::TargetRef;
use super::peer_authentication::Selector;
use crate::quantity::Span;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestAuthenticationSpec {
    pub selector: Option<Selector>,
    pub target_ref: Option<TargetRef>,
    pub target_refs: Vec<TargetRef>,
    pub jwt_rules: Vec<Option<JwtRule>>,
}

/// One issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtRule {
    pub issuer: String,
    pub audiences: Vec<String>,
    pub jwks_uri: String,
    /// The same, as Istio's schema has it too.
    #[serde(rename = "jwks_uri")]
    pub jwks_uri_by_its_older_name: String,
    pub jwks: String,
    pub from_headers: Vec<JwtHeader>,
    pub from_params: Vec<String>,
    pub from_cookies: Vec<String>,
    pub output_payload_to_header: String,
    pub output_claim_to_headers: Vec<Option<ClaimToHeader>>,
    pub forward_original_token: bool,
    pub timeout: Option<Span>,
    pub space_delimited_claims: Vec<String>,
    pub presence: Presence,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JwtHeader {
    pub name: String,
    pub prefix: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClaimToHeader {
    pub header: String,
    pub claim: String,
}

/// Whether a request has to bring a token of the rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Presence {
    #[default]
    Optional,
    Required,
}

// === impl JwtRule ===

impl JwtRule {
    /// Where the keys are; empty: it is not said.
    pub fn key_uri(&self) -> &str {
        match self.jwks_uri.as_str() {
            "" => &self.jwks_uri_by_its_older_name,
            uri => uri,
        }
    }
}
