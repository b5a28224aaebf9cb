//! Protocol options that listeners and clusters share.

use bytes::Bytes;

use super::keepalive::{Keepalive, keepalive};
use super::spelling::{HeaderCase, header_case};
use crate::compile::Rejection;
use crate::compile::at::{At, no_effect, refuse, silent};
use crate::compile::matcher::{self, StringMatcher};
use crate::compile::pb::core;
use crate::compile::pb::protobuf::UInt32Value;

/// What is said of HTTP/2; the defaults differ by side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Http2 {
    pub(crate) allow_connect: bool,
    pub(crate) max_concurrent_streams: Option<u32>,
    pub(crate) initial_stream_window: Option<u32>,
    pub(crate) initial_connection_window: Option<u32>,
    pub(crate) keepalive: Option<Keepalive>,
}

/// What is said of HTTP/1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http1 {
    pub(crate) ignored_upgrades: Vec<StringMatcher>,
    pub(crate) any_method: bool,
    pub(crate) chunked_length: bool,
    pub(crate) header_case: HeaderCase,
    pub(crate) takes_http10: bool,
    /// The host of HTTP/1.0 requests that have none.
    pub(crate) default_host: Option<Bytes>,
    /// Requests name their whole URL, as to a proxy.
    pub(crate) whole_url: bool,
}

pub(crate) fn http1(at: &At<'_>, message: &core::Http1ProtocolOptions) -> Result<Http1, Rejection> {
    let core::Http1ProtocolOptions {
        allow_absolute_url,
        accept_http_10,
        default_host_for_http_10,
        header_key_format,
        enable_trailers,
        allow_chunked_length,
        override_stream_error_on_invalid_http_message,
        send_fully_qualified_url,
        use_balsa_parser,
        allow_custom_methods,
        ignore_http_11_upgrade,
    } = message;
    silent!("trailers are always passed on"; enable_trailers);
    if default_host_for_http_10.contains(|c: char| c.is_control() || c == ' ') {
        return Err(at.field("default_host_for_http_10").reject("not a host"));
    }
    if allow_absolute_url.is_some_and(|allow| !allow.value) {
        return Err(at.field("allow_absolute_url").reject("false is not supported"));
    }
    no_effect!(at, "there is one codec"; use_balsa_parser, override_stream_error_on_invalid_http_message);
    Ok(Http1 {
        ignored_upgrades: at.each("ignore_http_11_upgrade", ignore_http_11_upgrade, matcher::string)?,
        any_method: *allow_custom_methods,
        chunked_length: *allow_chunked_length,
        header_case: header_case(at, header_key_format.as_ref())?,
        takes_http10: *accept_http_10,
        default_host: Some(default_host_for_http_10)
            .filter(|host| *accept_http_10 && !host.is_empty())
            .map(|host| Bytes::copy_from_slice(host.as_bytes())),
        whole_url: *send_fully_qualified_url,
    })
}

pub(crate) fn http2(at: &At<'_>, message: &core::Http2ProtocolOptions) -> Result<Http2, Rejection> {
    let core::Http2ProtocolOptions {
        hpack_table_size,
        max_concurrent_streams,
        initial_stream_window_size,
        initial_connection_window_size,
        allow_connect,
        allow_metadata,
        max_outbound_frames,
        max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload,
        max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent,
        stream_error_on_invalid_http_messaging,
        override_stream_error_on_invalid_http_message,
        custom_settings_parameters,
        connection_keepalive,
        use_oghttp2_codec,
        max_metadata_size,
        enable_huffman_encoding,
        max_header_field_size_kb,
        disallow_obs_text,
        stream_reset_burst,
        stream_reset_rate,
    } = message;
    refuse!(at; allow_metadata, custom_settings_parameters);
    no_effect!(at, "the codec has its own limits"; max_outbound_frames, max_outbound_control_frames,
        max_consecutive_inbound_frames_with_empty_payload, max_inbound_priority_frames_per_stream,
        max_inbound_window_update_frames_per_data_frame_sent, max_metadata_size, max_header_field_size_kb,
        stream_reset_burst, stream_reset_rate, disallow_obs_text);
    no_effect!(at, "there is one codec"; hpack_table_size, use_oghttp2_codec, enable_huffman_encoding,
        stream_error_on_invalid_http_messaging, override_stream_error_on_invalid_http_message);
    let range = |field, said: &Option<UInt32Value>, least| number(at, field, said, least);
    Ok(Http2 {
        allow_connect: *allow_connect,
        max_concurrent_streams: range("max_concurrent_streams", max_concurrent_streams, 1)?,
        initial_stream_window: range("initial_stream_window_size", initial_stream_window_size, 65_535)?,
        keepalive: match connection_keepalive {
            None => None,
            Some(settings) => keepalive(&at.field("connection_keepalive"), settings)?,
        },
        initial_connection_window: range(
            "initial_connection_window_size",
            initial_connection_window_size,
            65_535,
        )?,
    })
}

/// Up to what RFC 9113 allows.
fn number(
    at: &At<'_>,
    field: &'static str,
    said: &Option<UInt32Value>,
    least: u32,
) -> Result<Option<u32>, Rejection> {
    let most = (1 << 31) - 1;
    match said {
        None => Ok(None),
        Some(UInt32Value { value }) if (least..=most).contains(value) => Ok(Some(*value)),
        Some(UInt32Value { value }) => Err(at.field(field).reject(format!("{least} to {most}, not {value}"))),
    }
}
