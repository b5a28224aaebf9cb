//! What a tree of matchers may look at.

use leno_proto::FromAny;
use leno_proto::more::xds::r#type::matcher::v3::HttpAttributesCelMatchInput;

use crate::compile::Rejection;
use crate::compile::at::{At, refuse};
use crate::compile::pb::matching::{network, ssl, transport_socket};
use crate::compile::pb::{matcher as http, protobuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Its values with commas between them; in lower case.
    RequestHeader(String),
    QueryParameter(String),
    DestinationIp,
    DestinationPort,
    /// The client, as far as it is told by proxies that are trusted.
    SourceIp,
    SourcePort,
    /// The other end of the connection.
    DirectSourceIp,
    /// `local`, or nothing.
    SourceType,
    ServerName,
    /// `tls` or `raw_buffer`.
    TransportProtocol,
    ApplicationProtocol,
    /// Of the client's certificate.
    UriSan,
    DnsSan,
    Subject,
    /// What filters have noted, at a path of a namespace. It is no text: only a test of its own sees it.
    DynamicMetadata {
        namespace: String,
        path: Vec<String>,
    },
    FilterState(String),
    /// All that expressions know of a request.
    Attributes,
    /// Of the endpoint that a connection goes to, and of its locality.
    EndpointMetadata {
        namespace: String,
        path: Vec<String>,
    },
    LocalityMetadata {
        namespace: String,
        path: Vec<String>,
    },
}

pub(super) fn input(at: &At<'_>, any: &protobuf::Any) -> Result<Input, Rejection> {
    if any.is::<http::HttpRequestHeaderMatchInput>() {
        let http::HttpRequestHeaderMatchInput { header_name } =
            &at.unpack::<http::HttpRequestHeaderMatchInput>(any)?;
        return Ok(Input::RequestHeader(
            at.field("header_name").header_name(header_name)?,
        ));
    }
    if any.is::<http::HttpRequestQueryParamMatchInput>() {
        let http::HttpRequestQueryParamMatchInput { query_param } =
            &at.unpack::<http::HttpRequestQueryParamMatchInput>(any)?;
        at.not_empty("query_param", query_param)?;
        return Ok(Input::QueryParameter(query_param.clone()));
    }
    if any.is::<network::FilterStateInput>() {
        let network::FilterStateInput { key, field } = &at.unpack::<network::FilterStateInput>(any)?;
        refuse!(at; field);
        at.not_empty("key", key)?;
        return Ok(Input::FilterState(key.clone()));
    }
    if any.is::<HttpAttributesCelMatchInput>() {
        let HttpAttributesCelMatchInput {} = at.unpack(any)?;
        return Ok(Input::Attributes);
    }
    if any.is::<network::DynamicMetadataInput>() {
        return dynamic_metadata(at, &at.unpack(any)?);
    }
    if any.is::<transport_socket::EndpointMetadataInput>() {
        return endpoint_metadata(at, &at.unpack(any)?);
    }
    if any.is::<transport_socket::LocalityMetadataInput>() {
        return locality_metadata(at, &at.unpack(any)?);
    }
    let plain = PLAIN.iter().find(|(is, _)| is(any));
    match plain {
        Some((_, input)) => Ok(input.clone()),
        None => Err(at.unknown_extension(any)),
    }
}

fn dynamic_metadata(at: &At<'_>, message: &network::DynamicMetadataInput) -> Result<Input, Rejection> {
    use network::dynamic_metadata_input::{PathSegment, path_segment::Segment};
    let network::DynamicMetadataInput { filter, path } = message;
    at.not_empty("filter", filter)?;
    Ok(Input::DynamicMetadata {
        namespace: filter.clone(),
        path: at.some("path", path, |at, PathSegment { segment }| {
            let Segment::Key(key) = at.required("segment", segment)?;
            at.not_empty("key", key)?;
            Ok(key.clone())
        })?,
    })
}

fn endpoint_metadata(
    at: &At<'_>,
    message: &transport_socket::EndpointMetadataInput,
) -> Result<Input, Rejection> {
    use transport_socket::endpoint_metadata_input::{PathSegment, path_segment::Segment};
    let transport_socket::EndpointMetadataInput { filter, path } = message;
    Ok(Input::EndpointMetadata {
        namespace: namespace(filter),
        path: at.some("path", path, |at, PathSegment { segment }| {
            let Segment::Key(key) = at.required("segment", segment)?;
            at.not_empty("key", key)?;
            Ok(key.clone())
        })?,
    })
}

fn locality_metadata(
    at: &At<'_>,
    message: &transport_socket::LocalityMetadataInput,
) -> Result<Input, Rejection> {
    use transport_socket::locality_metadata_input::{PathSegment, path_segment::Segment};
    let transport_socket::LocalityMetadataInput { filter, path } = message;
    Ok(Input::LocalityMetadata {
        namespace: namespace(filter),
        path: at.some("path", path, |at, PathSegment { segment }| {
            let Segment::Key(key) = at.required("segment", segment)?;
            at.not_empty("key", key)?;
            Ok(key.clone())
        })?,
    })
}

fn namespace(said: &str) -> String {
    match said {
        "" => "envoy.lb",
        said => said,
    }
    .to_owned()
}

/// Whether it is that message.
type Is = fn(&protobuf::Any) -> bool;

/// Those without fields.
const PLAIN: &[(Is, Input)] = &[
    (
        |any| any.is::<network::DestinationIpInput>(),
        Input::DestinationIp,
    ),
    (
        |any| any.is::<network::DestinationPortInput>(),
        Input::DestinationPort,
    ),
    (|any| any.is::<network::SourceIpInput>(), Input::SourceIp),
    (|any| any.is::<network::SourcePortInput>(), Input::SourcePort),
    (
        |any| any.is::<network::DirectSourceIpInput>(),
        Input::DirectSourceIp,
    ),
    (|any| any.is::<network::SourceTypeInput>(), Input::SourceType),
    (|any| any.is::<network::ServerNameInput>(), Input::ServerName),
    (
        |any| any.is::<network::TransportProtocolInput>(),
        Input::TransportProtocol,
    ),
    (
        |any| any.is::<network::ApplicationProtocolInput>(),
        Input::ApplicationProtocol,
    ),
    (|any| any.is::<ssl::UriSanInput>(), Input::UriSan),
    (|any| any.is::<ssl::DnsSanInput>(), Input::DnsSan),
    (|any| any.is::<ssl::SubjectInput>(), Input::Subject),
];
