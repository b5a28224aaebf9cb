//! `original_ip_detection_extensions`: who the client is, where proxies stand before this one.

use ipnet::IpNet;
use leno_proto::FromAny;

use crate::compile::Rejection;
use crate::compile::address;
use crate::compile::at::{At, silent};
use crate::compile::pb::hcm::HttpConnectionManager;
use crate::compile::pb::original_ip::{custom_header, xff};
use crate::compile::pb::{core, protobuf, types};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpDetection {
    /// `x-forwarded-for`, which the other end of the connection is appended to unless `keep`.
    ForwardedFor { trusted: TrustedProxies, keep: bool },
    Header {
        /// In lower case.
        name: String,
        /// Its word may make a request an internal one.
        trusted: bool,
        /// The status of requests without it.
        refusal: Option<u16>,
    },
}

/// Whose entries of `x-forwarded-for` are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedProxies {
    /// So many from the right.
    Hops(usize),
    /// Those of these, up to the first that is not; and nothing at all unless the connection is one's.
    Ranges(Vec<IpNet>),
}

pub(super) fn detection(
    at: &At<'_>,
    message: &HttpConnectionManager,
    extensions: &[core::TypedExtensionConfig],
) -> Result<Vec<IpDetection>, Rejection> {
    if extensions.is_empty() {
        return Ok(Vec::new());
    }
    let field = "original_ip_detection_extensions";
    if message.use_remote_address.is_some_and(|uses| uses.value) || message.xff_num_trusted_hops > 0 {
        return Err(at
            .field(field)
            .reject("excludes use_remote_address and xff_num_trusted_hops"));
    }
    at.each(field, extensions, |at, extension| {
        let core::TypedExtensionConfig { name, typed_config } = extension;
        silent!("names are for people"; name);
        let any = at.required("typed_config", typed_config)?;
        one(&at.field("typed_config"), any)
    })
}

fn one(at: &At<'_>, any: &protobuf::Any) -> Result<IpDetection, Rejection> {
    if any.is::<xff::XffConfig>() {
        return forwarded_for(at, &at.unpack(any)?);
    }
    let custom_header::CustomHeaderConfig {
        header_name,
        allow_extension_to_set_address_as_trusted,
        reject_with_status,
    } = &at.unpack(any)?;
    Ok(IpDetection::Header {
        name: at.field("header_name").header_name(header_name)?,
        trusted: *allow_extension_to_set_address_as_trusted,
        // Envoy's default where it is no status of a refusal.
        refusal: reject_with_status.map(|types::HttpStatus { code }| {
            let code = u16::try_from(code).unwrap_or_default();
            if (400..=511).contains(&code) { code } else { 403 }
        }),
    })
}

fn forwarded_for(at: &At<'_>, message: &xff::XffConfig) -> Result<IpDetection, Rejection> {
    let xff::XffConfig {
        xff_num_trusted_hops,
        xff_trusted_cidrs,
        skip_xff_append,
    } = message;
    let trusted = match xff_trusted_cidrs {
        None => TrustedProxies::Hops(*xff_num_trusted_hops as usize),
        Some(_) if *xff_num_trusted_hops > 0 => {
            return Err(at
                .field("xff_trusted_cidrs")
                .reject("excludes xff_num_trusted_hops"));
        }
        Some(xff::XffTrustedCidrs { cidrs }) if cidrs.is_empty() => TrustedProxies::Hops(0),
        Some(xff::XffTrustedCidrs { cidrs }) => {
            let at = at.field("xff_trusted_cidrs");
            TrustedProxies::Ranges(at.each("cidrs", cidrs, address::cidr)?)
        }
    };
    Ok(IpDetection::ForwardedFor {
        trusted,
        keep: skip_xff_append.as_ref().is_none_or(|skip| skip.value),
    })
}
