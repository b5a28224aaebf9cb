//! `x-forwarded-client-cert`: what is said in it, and by which requests that is decided.

use leno_proto::FromAny;

use crate::compile::Rejection;
use crate::compile::at::At;
use crate::compile::matcher::input::Input;
use crate::compile::matcher::tree::{self, Grammar, Tree};
use crate::compile::pb::hcm::http_connection_manager as manager;
use crate::compile::pb::xds_matcher;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardClientCertMode {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardClientCert {
    pub mode: ForwardClientCertMode,
    pub subject: bool,
    pub uri: bool,
    pub dns: bool,
    pub cert: bool,
    pub chain: bool,
    pub issuer: bool,
    /// A list of objects, where the header is not there yet in the other form.
    pub json: bool,
}

/// What some requests have instead.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardClientCertTree {
    pub tree: Tree<ForwardClientCert>,
    /// What some of its leaves want to be kept of connections.
    pub keeps: Keeps,
}

/// What of a client's certificate is kept for as long as its connection is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    pub cert: bool,
    pub chain: bool,
    pub issuer: bool,
}

impl Keeps {
    #[must_use]
    pub fn and(self, config: &ForwardClientCert) -> Self {
        Self {
            cert: self.cert || config.cert,
            chain: self.chain || config.chain,
            issuer: self.issuer || config.issuer,
        }
    }
}

pub(super) fn client_cert(
    at: &At<'_>,
    mode: i32,
    details: Option<&manager::SetCurrentClientCertDetails>,
) -> Result<ForwardClientCert, Rejection> {
    use manager::{ForwardClientCertDetails as D, ForwardClientCertFormat, SetCurrentClientCertDetails};
    let mode = match at.choice("forward_client_cert_details", mode)? {
        D::Sanitize => ForwardClientCertMode::Sanitize,
        D::ForwardOnly => ForwardClientCertMode::ForwardOnly,
        D::AppendForward => ForwardClientCertMode::AppendForward,
        D::SanitizeSet => ForwardClientCertMode::SanitizeSet,
        D::AlwaysForwardOnly => ForwardClientCertMode::AlwaysForwardOnly,
    };
    let SetCurrentClientCertDetails {
        subject,
        cert,
        chain,
        dns,
        uri,
        issuer,
        format,
    } = &details.copied().unwrap_or_default();
    let at = at.field("set_current_client_cert_details");
    Ok(ForwardClientCert {
        mode,
        subject: subject.is_some_and(|subject| subject.value),
        uri: *uri,
        dns: *dns,
        cert: *cert,
        chain: *chain,
        issuer: *issuer,
        json: at.choice::<ForwardClientCertFormat>("format", *format)? == ForwardClientCertFormat::Json,
    })
}

pub(super) fn tree(at: &At<'_>, message: &xds_matcher::Matcher) -> Result<ForwardClientCertTree, Rejection> {
    let keeps = std::cell::Cell::new(Keeps::default());
    let tree = tree::tree(
        at,
        message,
        &Grammar {
            allows: |input| {
                !matches!(
                    input,
                    Input::QueryParameter(_)
                        | Input::SourceType
                        | Input::TransportProtocol
                        | Input::ApplicationProtocol
                        | Input::DynamicMetadata { .. }
                        | Input::FilterState(_)
                        | Input::EndpointMetadata { .. }
                        | Input::LocalityMetadata { .. }
                )
            },
            place: "forward_client_cert_matcher",
            action: &|at, any| {
                if !any.is::<manager::ForwardClientCertConfig>() {
                    return Err(at.reject("a ForwardClientCertConfig is needed"));
                }
                let manager::ForwardClientCertConfig {
                    forward_client_cert_details,
                    set_current_client_cert_details,
                } = &at.unpack::<manager::ForwardClientCertConfig>(any)?;
                let config = client_cert(
                    at,
                    *forward_client_cert_details,
                    set_current_client_cert_details.as_ref(),
                )?;
                keeps.set(keeps.get().and(&config));
                Ok(config)
            },
        },
    )?;
    Ok(ForwardClientCertTree {
        tree,
        keeps: keeps.get(),
    })
}
