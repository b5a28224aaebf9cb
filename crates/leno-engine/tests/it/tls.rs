//! Whose certificates a TLS context accepts.

use leno_engine::compile::tls::{DownstreamTls, Pin, Validation};
use leno_proto::ToAny;
use leno_proto::envoy::config::core::v3 as core;
use leno_proto::envoy::config::listener::v3 as listener;
use leno_proto::envoy::extensions::transport_sockets::tls::v3 as tls;
use leno_proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;

use crate::made::{bool_value, compile_listener, listener, tcp_chain, u32_value};

fn text(text: &str) -> Option<core::DataSource> {
    Some(core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineString(text.into())),
        ..Default::default()
    })
}

fn compiled(common: tls::CommonTlsContext) -> Result<leno_engine::compile::tls::CommonTls, String> {
    served(common, tls::DownstreamTlsContext::default()).map(|tls| tls.common)
}

/// With this besides.
fn served(
    common: tls::CommonTlsContext,
    besides: tls::DownstreamTlsContext,
) -> Result<leno_engine::compile::tls::DownstreamTls, String> {
    let context = tls::DownstreamTlsContext {
        common_tls_context: Some(tls::CommonTlsContext {
            tls_certificates: vec![tls::TlsCertificate {
                certificate_chain: text("chain"),
                private_key: text("key"),
                ..Default::default()
            }],
            ..common
        }),
        ..besides
    };
    let mut chain = tcp_chain("tls", listener::FilterChainMatch::default());
    chain.transport_socket = Some(core::TransportSocket {
        name: "tls".into(),
        config_type: Some(core::transport_socket::ConfigType::TypedConfig(context.to_any())),
    });
    let listener = compile_listener(&listener(vec![chain])).map_err(|error| {
        let text = error.to_string();
        let place = "filter_chains[0].transport_socket.typed_config.";
        let text = text.strip_prefix(place).unwrap_or(&text);
        text.strip_prefix("common_tls_context.")
            .unwrap_or(text)
            .to_owned()
    })?;
    let tls = listener.chains[0].tls.as_ref().expect("it has TLS");
    Ok(DownstreamTls::clone(tls))
}

fn validation(context: tls::CertificateValidationContext) -> Result<Validation, String> {
    let common = compiled(tls::CommonTlsContext {
        validation_context_type: Some(tls::common_tls_context::ValidationContextType::ValidationContext(
            context,
        )),
        ..Default::default()
    })?;
    Ok(common.validation.expect("it was given"))
}

#[test]
fn keys_of_tickets_have_eighty_bytes() {
    use tls::downstream_tls_context::SessionTicketKeysType as T;
    let with = |keys: &[usize]| {
        let keys = keys
            .iter()
            .filter_map(|length| text(&"k".repeat(*length)))
            .collect();
        let besides = tls::DownstreamTlsContext {
            session_timeout: Some(leno_proto::google::protobuf::Duration {
                seconds: 60,
                nanos: 0,
            }),
            session_ticket_keys_type: Some(T::SessionTicketKeys(tls::TlsSessionTicketKeys { keys })),
            ..Default::default()
        };
        served(tls::CommonTlsContext::default(), besides).map(|tls| tls.tickets)
    };
    let tickets = with(&[80, 80]).unwrap().unwrap();
    assert_eq!(tickets.lifetime.as_secs(), 60);
    assert_eq!(format!("{:?}", tickets.keys), "Inline(2)", "they are not shown");
    assert_eq!(
        with(&[80, 48]).unwrap_err(),
        "session_ticket_keys.keys[1]: 80 bytes are needed, not 48"
    );
    assert_eq!(with(&[]).unwrap_err(), "session_ticket_keys.keys: required");
    let off = tls::DownstreamTlsContext {
        session_ticket_keys_type: Some(T::DisableStatelessSessionResumption(true)),
        ..Default::default()
    };
    assert_eq!(
        served(tls::CommonTlsContext::default(), off).unwrap().tickets,
        None
    );
}

#[test]
fn pins_are_written_in_hexadecimal_and_base64() {
    let certificate = (0..32).map(|byte| format!("{byte:02X}")).collect::<Vec<_>>();
    let compiled = validation(tls::CertificateValidationContext {
        verify_certificate_hash: vec![certificate.concat(), certificate.join(":")],
        verify_certificate_spki: vec!["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into()],
        ..Default::default()
    });
    let hash = std::array::from_fn(|at| at as u8);
    assert_eq!(
        compiled.unwrap().pins,
        [Pin::Certificate(hash), Pin::Certificate(hash), Pin::Key(hash)]
    );
    for wrong in ["", "00", &"+1".repeat(32), &"00".repeat(33)] {
        let error = validation(tls::CertificateValidationContext {
            verify_certificate_hash: vec![wrong.into()],
            ..Default::default()
        });
        assert_eq!(
            error.unwrap_err(),
            "validation_context.verify_certificate_hash[0]: not a SHA-256 in hexadecimal"
        );
    }
}

/// As Envoy: without an authority there is nothing to be lenient about, or strict.
#[test]
fn what_is_asked_of_a_chain_needs_an_authority() {
    let default = tls::CertificateValidationContext::default;
    let asked = [
        (
            "allow_expired_certificate",
            tls::CertificateValidationContext {
                allow_expired_certificate: true,
                ..default()
            },
        ),
        (
            "crl",
            tls::CertificateValidationContext {
                crl: text("list"),
                ..default()
            },
        ),
        (
            "max_verify_depth",
            tls::CertificateValidationContext {
                max_verify_depth: u32_value(1),
                ..default()
            },
        ),
        (
            "trust_chain_verification",
            tls::CertificateValidationContext {
                trusted_ca: text("ca"),
                verify_certificate_hash: vec!["00".repeat(32)],
                trust_chain_verification: TrustChainVerification::AcceptUntrusted.into(),
                ..default()
            },
        ),
    ];
    for (field, context) in asked {
        let error = validation(context).unwrap_err();
        assert!(
            error.starts_with(&format!("validation_context.{field}: only for certificates")),
            "{error}"
        );
    }
}

#[test]
fn pins_are_enough_to_demand_a_certificate() {
    let demanding = |context: tls::CertificateValidationContext| {
        let context = tls::DownstreamTlsContext {
            require_client_certificate: bool_value(true),
            common_tls_context: Some(tls::CommonTlsContext {
                tls_certificates: vec![tls::TlsCertificate {
                    certificate_chain: text("chain"),
                    private_key: text("key"),
                    ..Default::default()
                }],
                validation_context_type: Some(
                    tls::common_tls_context::ValidationContextType::ValidationContext(context),
                ),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mut chain = tcp_chain("tls", listener::FilterChainMatch::default());
        chain.transport_socket = Some(core::TransportSocket {
            name: "tls".into(),
            config_type: Some(core::transport_socket::ConfigType::TypedConfig(context.to_any())),
        });
        compile_listener(&listener(vec![chain])).is_ok()
    };
    assert!(!demanding(tls::CertificateValidationContext::default()));
    assert!(demanding(tls::CertificateValidationContext {
        verify_certificate_hash: vec!["00".repeat(32)],
        ..Default::default()
    }));
}

#[test]
fn suites_that_are_not_spoken_are_left_out_and_nothing_is_a_mistake() {
    let parameters = |suites: &[&str], groups: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        compiled(tls::CommonTlsContext {
            tls_params: Some(tls::TlsParameters {
                cipher_suites: owned(suites),
                ecdh_curves: owned(groups),
                ..Default::default()
            }),
            ..Default::default()
        })
        .map(|common| common.parameters)
    };
    let some = parameters(
        &[
            "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-AES128-GCM-SHA256]",
            "AES128-SHA",
        ],
        &["X25519", "P-224"],
    );
    let some = some.unwrap();
    assert_eq!(
        some.cipher_suites,
        ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]
    );
    assert_eq!(some.groups, ["X25519"]);
    let none = parameters(&["AES128-SHA"], &[]).unwrap_err();
    assert!(
        none.starts_with("tls_params.cipher_suites: none of them is spoken"),
        "{none}"
    );
}
