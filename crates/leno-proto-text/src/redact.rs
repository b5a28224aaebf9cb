//! What is never shown: the fields that Envoy's files mark `(udpa.annotations.sensitive)`. The embedded descriptors
//! have no options, so they are named here.

use serde_json::Value as Json;

/// In base64, for bytes.
const BYTES: &str = "W3JlZGFjdGVkXQ==";
const TEXT: &str = "[redacted]";

/// Message and field.
pub(crate) const SENSITIVE: [(&str, &str); 28] = [
    (
        "envoy.config.core.v3.GrpcService.GoogleGrpc.SslCredentials",
        "private_key",
    ),
    (
        "envoy.config.grpc_credential.v3.FileBasedMetadataConfig",
        "secret_data",
    ),
    ("envoy.config.trace.v3.ClientConfig", "backend_token"),
    (
        "envoy.extensions.common.aws.v3.AssumeRoleWithWebIdentityCredentialProvider",
        "web_identity_token_data_source",
    ),
    (
        "envoy.extensions.common.aws.v3.CredentialsFileCredentialProvider",
        "credentials_data_source",
    ),
    (
        "envoy.extensions.common.aws.v3.IAMRolesAnywhereCredentialProvider",
        "private_key",
    ),
    (
        "envoy.extensions.common.aws.v3.InlineCredentialProvider",
        "secret_access_key",
    ),
    (
        "envoy.extensions.common.aws.v3.InlineCredentialProvider",
        "session_token",
    ),
    (
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "credentials",
    ),
    (
        "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
        "credentials",
    ),
    ("envoy.extensions.filters.http.basic_auth.v3.BasicAuth", "users"),
    (
        "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute",
        "users",
    ),
    (
        "envoy.extensions.filters.http.ext_authz.v3.CheckSettings",
        "context_extensions",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions",
        "auth_password",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions",
        "auth_username",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions.Credential",
        "auth_password",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProtocolOptions.Credential",
        "auth_username",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "downstream_auth_password",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "downstream_auth_passwords",
    ),
    (
        "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "downstream_auth_username",
    ),
    (
        "envoy.extensions.grpc_service.call_credentials.file_based_metadata.v3.FileBasedMetadataCallCredentials",
        "secret_data",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.GenericSecret",
        "secret",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.GenericSecret",
        "secrets",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.PrivateKeyProvider",
        "typed_config",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        "password",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        "pkcs12",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
        "private_key",
    ),
    (
        "envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys",
        "keys",
    ),
];

pub(crate) fn is_sensitive(message: &str, field: &str) -> bool {
    SENSITIVE.contains(&(message, field))
}

/// Its form stays, with no value in it.
pub(crate) fn redact(value: &mut Json) {
    match value {
        Json::String(text) => *text = TEXT.to_owned(),
        Json::Array(elements) => elements.iter_mut().for_each(redact),
        Json::Object(fields) => {
            fields.retain(|_, value| !matches!(value, Json::Number(_) | Json::Bool(_)));
            for (name, value) in fields {
                match name.as_str() {
                    "@type" => {}
                    "inline_bytes" => *value = BYTES.into(),
                    _ => redact(value),
                }
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::Schema;

    use super::*;

    #[test]
    fn each_secret_is_a_field_of_the_schema() {
        let schema = Schema::load();
        for (message, field) in SENSITIVE {
            let message = schema.descriptors().get_message_by_name(message).unwrap();
            assert!(message.get_field_by_name(field).is_some(), "{field}");
        }
    }
}
