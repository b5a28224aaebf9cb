//! Who is accepted, who is not, and what is said about it.

use std::sync::Arc;

use leno_tls::{
    ClientAuth, ClientTls, ConfigError, HandshakeFailure, PeerCheck, PeerError, Pin, ROOT_CA, Revocation,
    SanKind, SanMatcher, ServerCheck, ServerTls, TlsVersion, UnsupportedError, Versions,
};
use rustls::AlertDescription;

use crate::pki::{DAY, End, NOW, TestCa, handshake, mesh_client, mesh_server, spiffe};

#[test]
fn each_side_records_the_others_identity() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "productpage"), End::in_mesh(&ca, "reviews"));
    let outcome = handshake(
        &a.client(mesh_client("reviews")),
        &b.server(mesh_server()),
        a.clock.now(),
    );
    let server_name = outcome.connections.1.server_name().map(str::to_owned);
    let (reviews, productpage) = outcome.both();
    assert_eq!(reviews.id.unwrap().as_str(), spiffe("reviews"));
    assert_eq!(productpage.id.as_ref().unwrap().as_str(), spiffe("productpage"));
    assert_eq!(productpage.alpn.as_deref(), Some(&b"istio-h2"[..]));
    assert_eq!(
        server_name.as_deref(),
        Some("outbound_.9080_._.reviews.default.svc.cluster.local")
    );
    assert_eq!(productpage.version, TlsVersion::V1_3);
    assert_eq!(
        productpage.group.as_deref(),
        Some("X25519MLKEM768"),
        "the post-quantum hybrid is preferred"
    );
    assert_eq!(productpage.certificate_hash.unwrap().len(), 64);
}

#[test]
fn a_client_without_certificate_is_refused_or_not_as_configured() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let anonymous = a.client(ClientTls {
        identity: None,
        ..mesh_client("b")
    });
    let refused = handshake(&anonymous, &b.server(mesh_server()), a.clock.now());
    let failure = refused.server.unwrap_err();
    assert_eq!(failure, PeerError::NoCertificate.into());
    assert_eq!(failure.code(), "PEER_DID_NOT_RETURN_A_CERTIFICATE");
    let told = refused.client.unwrap_err();
    assert_eq!(told.code(), "TLSV1_CERTIFICATE_REQUIRED");
    assert!(
        told.to_string().contains("requires a client certificate"),
        "{told}"
    );

    let optional = ServerTls {
        client_auth: ClientAuth::Optional(PeerCheck::any(ROOT_CA)),
        ..mesh_server()
    };
    let peer = handshake(&anonymous, &b.server(optional), a.clock.now())
        .server
        .unwrap();
    assert!(!peer.is_authenticated() && peer.id.is_none());
}

#[test]
fn a_foreign_authority_is_refused_even_under_the_same_name() {
    for foreign_name in ["another mesh", "mesh"] {
        let (ca, foreign) = (TestCa::new("mesh"), TestCa::new(foreign_name));
        let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
        let mut intruder = End::in_mesh(&foreign, "a");
        intruder.secrets.set_bundle(ROOT_CA, ca.bundle());
        let outcome = handshake(
            &intruder.client(mesh_client("b")),
            &b.server(mesh_server()),
            a.clock.now(),
        );
        assert_eq!(
            outcome.server.unwrap_err(),
            PeerError::UnknownCa.into(),
            "{foreign_name}"
        );
        let mut impostor = End::in_mesh(&foreign, "b");
        let outcome = handshake(
            &a.client(mesh_client("b")),
            &impostor.server(mesh_server()),
            a.clock.now(),
        );
        assert_eq!(
            outcome.client.unwrap_err(),
            PeerError::UnknownCa.into(),
            "{foreign_name}"
        );
        let told = HandshakeFailure::RefusedByPeer {
            alert: AlertDescription::UnknownCA,
        };
        assert_eq!(outcome.server.unwrap_err(), told, "{foreign_name}");
    }
}

#[test]
fn a_wrong_name_is_refused_naming_expected_and_got() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "ratings"));
    let outcome = handshake(
        &a.client(mesh_client("reviews")),
        &b.server(mesh_server()),
        a.clock.now(),
    );
    let failure = outcome.client.unwrap_err();
    assert_eq!(
        failure,
        PeerError::SanMismatch {
            expected: vec![format!("URI {}", spiffe("reviews"))],
            got: vec![spiffe("ratings")]
        }
        .into()
    );
    assert_eq!(failure.code(), "CERTIFICATE_VERIFY_FAILED");
    assert!(failure.to_string().contains("sa/reviews") && failure.to_string().contains("sa/ratings"));
    assert!(matches!(
        outcome.server,
        Err(HandshakeFailure::RefusedByPeer { .. })
    ));
}

#[test]
fn a_client_outside_of_the_trust_domain_is_refused() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    a.secrets.set_identity(
        "default",
        ca.identity("spiffe://elsewhere/ns/default/sa/a", &a.crypto),
    );
    let check = PeerCheck {
        trust_domains: vec!["cluster.local".parse().unwrap()],
        ..PeerCheck::any(ROOT_CA)
    };
    let server = b.server(ServerTls {
        client_auth: ClientAuth::Require(check),
        ..mesh_server()
    });
    let failure = handshake(&a.client(mesh_client("b")), &server, a.clock.now())
        .server
        .unwrap_err();
    assert!(
        matches!(&failure, HandshakeFailure::Peer(PeerError::TrustDomain { got, .. })
        if got == &["spiffe://elsewhere/ns/default/sa/a"])
    );
}

#[test]
fn certificates_are_refused_after_and_before_their_time() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let server = b.server(mesh_server());
    a.secrets.set_identity(
        "default",
        ca.identity_between(&spiffe("a"), NOW - 2 * DAY, NOW - DAY, &a.crypto),
    );
    let outcome = handshake(&a.client(mesh_client("b")), &server, a.clock.now());
    let failure = outcome.server.unwrap_err();
    assert!(failure.to_string().contains("2025-12-31T00:00:00Z"), "{failure}");
    assert!(matches!(
        failure,
        HandshakeFailure::Peer(PeerError::Expired { .. })
    ));
    a.secrets.set_identity(
        "default",
        ca.identity_between(&spiffe("a"), NOW + DAY, NOW + 2 * DAY, &a.crypto),
    );
    let early = handshake(&a.client(mesh_client("b")), &server, a.clock.now())
        .server
        .unwrap_err();
    assert!(matches!(
        early,
        HandshakeFailure::Peer(PeerError::NotYetValid { .. })
    ));
}

#[test]
fn a_web_server_is_known_by_its_host_name() {
    let ca = TestCa::new("web");
    let (mut a, mut web) = (End::new(), End::new());
    a.secrets.set_bundle("web-roots", ca.bundle());
    web.secrets
        .set_identity("default", ca.web_server("api.example.com", &web.crypto));
    let server = web.server(ServerTls {
        client_auth: ClientAuth::None,
        alpn: vec![],
        ..mesh_server()
    });
    let mut simple = |host: &str| {
        a.client(ClientTls {
            identity: None,
            server: ServerCheck::Hostname(PeerCheck::any("web-roots")),
            sni: Some(host.into()),
            alpn: vec![],
            ..mesh_client("none")
        })
    };
    let peer = handshake(&simple("api.example.com"), &server, web.clock.now())
        .client
        .unwrap();
    assert_eq!(peer.sans.dns, ["api.example.com"]);
    let failure = handshake(&simple("example.com"), &server, web.clock.now())
        .client
        .unwrap_err();
    assert_eq!(
        failure,
        PeerError::SanMismatch {
            expected: vec!["example.com".into()],
            got: vec!["api.example.com".into()]
        }
        .into()
    );
}

#[test]
fn an_unverified_server_has_no_identity() {
    let (mut a, mut b) = (
        End::in_mesh(&TestCa::new("a"), "a"),
        End::in_mesh(&TestCa::new("b"), "b"),
    );
    let server = b.server(ServerTls {
        client_auth: ClientAuth::None,
        ..mesh_server()
    });
    let client = a.client(ClientTls {
        server: ServerCheck::Unverified,
        ..mesh_client("b")
    });
    let peer = handshake(&client, &server, a.clock.now()).client.unwrap();
    assert_eq!((peer.id.as_ref(), peer.is_authenticated()), (None, false));
}

#[test]
fn tls12_is_spoken_only_where_allowed() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let old = Versions {
        min: TlsVersion::V1_2,
        max: TlsVersion::V1_2,
    };
    let suites = vec!["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-RSA-AES128-GCM-SHA256]".to_owned()];
    let client = a.client(ClientTls {
        versions: old,
        cipher_suites: suites,
        ..mesh_client("b")
    });
    let refused = handshake(&client, &b.server(mesh_server()), a.clock.now());
    assert!(matches!(
        refused.server,
        Err(HandshakeFailure::Incompatible { .. })
    ));
    let both = b.server(ServerTls {
        versions: Versions::TLS12_AND_13,
        ..mesh_server()
    });
    let (_, peer) = handshake(&client, &both, a.clock.now()).both();
    assert_eq!(peer.version, TlsVersion::V1_2);
    assert_eq!(peer.cipher_suite, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    assert_eq!(peer.id.unwrap().as_str(), spiffe("a"));
}

#[test]
fn plaintext_on_a_tls_port_is_named() {
    let mut end = End::in_mesh(&TestCa::new("mesh"), "b");
    let server = end.server(mesh_server());
    let mut connection = rustls::ServerConnection::new(server.config().clone()).unwrap();
    connection.read_tls(&mut &b"GET / HTTP/1.1\r\n\r\n"[..]).unwrap();
    let failure = HandshakeFailure::from_rustls(&connection.process_new_packets().unwrap_err());
    assert!(matches!(failure, HandshakeFailure::NotTls { .. }), "{failure}");
    let io = std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        rustls::Error::NoCertificatesPresented,
    );
    assert_eq!(HandshakeFailure::from_io(&io), PeerError::NoCertificate.into());
}

#[test]
fn an_unknown_application_protocol_is_let_pass_when_it_was_looked_at() {
    let ca = TestCa::new("mesh");
    let mut b = End::in_mesh(&ca, "b");
    let server = b.server(mesh_server());
    assert!(
        server
            .config_for([&b"istio-h2"[..]].into_iter())
            .alpn_protocols
            .len()
            == 2
    );
    assert!(
        server
            .config_for([&b"h3"[..]].into_iter())
            .alpn_protocols
            .is_empty()
    );
}

#[test]
fn bad_configurations_are_refused_by_name() {
    let ca = TestCa::new("mesh");
    let mut end = End::in_mesh(&ca, "a");
    let mut fails = |tls: ServerTls| end.configs.server(&Arc::new(tls)).unwrap_err();
    let missing = fails(ServerTls {
        identity: "gateway-cert".into(),
        ..mesh_server()
    });
    assert_eq!(
        missing,
        ConfigError::NoIdentity {
            name: "gateway-cert".into()
        }
    );
    let check = PeerCheck::any("other-root");
    let missing = fails(ServerTls {
        client_auth: ClientAuth::Require(check),
        ..mesh_server()
    });
    assert_eq!(
        missing,
        ConfigError::NoTrust {
            name: "other-root".into()
        }
    );
    let suite = fails(ServerTls {
        cipher_suites: vec!["AES128-SHA".into()],
        ..mesh_server()
    });
    assert!(
        suite.to_string().contains("AES128-SHA") && suite.to_string().contains("ECDHE-RSA"),
        "{suite}"
    );
    let group = fails(ServerTls {
        groups: vec!["P-224".into()],
        ..mesh_server()
    });
    assert!(matches!(
        group,
        ConfigError::Unsupported(UnsupportedError::Group { .. })
    ));
    let backwards = Versions {
        min: TlsVersion::V1_3,
        max: TlsVersion::V1_2,
    };
    assert!(matches!(
        fails(ServerTls {
            versions: backwards,
            ..mesh_server()
        }),
        ConfigError::Versions { .. }
    ));
    let sni = ClientTls {
        sni: Some("not a name".into()),
        ..mesh_client("b")
    };
    assert!(matches!(
        end.configs.client(&Arc::new(sni)),
        Err(ConfigError::Sni { .. })
    ));
}

#[test]
fn a_dns_matcher_does_not_accept_a_uri() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let sans = vec![SanMatcher::exact(SanKind::Dns, spiffe("b"))];
    let check = PeerCheck {
        sans,
        ..PeerCheck::any(ROOT_CA)
    };
    let client = a.client(ClientTls {
        server: ServerCheck::Peer(check),
        ..mesh_client("b")
    });
    let failure = handshake(&client, &b.server(mesh_server()), a.clock.now())
        .client
        .unwrap_err();
    assert!(matches!(
        failure,
        HandshakeFailure::Peer(PeerError::SanMismatch { .. })
    ));
}

#[test]
fn a_certificate_out_of_its_time_is_accepted_where_that_is_allowed() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let check = PeerCheck {
        allow_expired: true,
        ..PeerCheck::any(ROOT_CA)
    };
    let lenient = b.server(ServerTls {
        client_auth: ClientAuth::Require(check),
        ..mesh_server()
    });
    for (from, to) in [(NOW - 3 * DAY, NOW - 2 * DAY), (NOW + 2 * DAY, NOW + 3 * DAY)] {
        let identity = ca.identity_between(&spiffe("a"), from, to, &a.crypto);
        a.secrets.set_identity("default", identity);
        let client = a.client(mesh_client("b"));
        let refused = handshake(&client, &b.server(mesh_server()), a.clock.now()).server;
        assert!(refused.is_err());
        let peer = handshake(&client, &lenient, a.clock.now()).server.unwrap();
        assert_eq!(peer.id.unwrap().as_str(), spiffe("a"));
    }
}

#[test]
fn a_pin_holds_without_an_authority_and_nothing_holds_without_both() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let pinned = |pin| ClientTls {
        server: ServerCheck::Peer(PeerCheck {
            trust: None,
            pins: vec![pin],
            ..PeerCheck::any(ROOT_CA)
        }),
        ..mesh_client("b")
    };
    let first = handshake(
        &a.client(mesh_client("b")),
        &b.server(mesh_server()),
        a.clock.now(),
    );
    let hash = first.client.unwrap().certificate_hash.unwrap();
    let bytes: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let right = Pin::Certificate(bytes.try_into().unwrap());
    let server = b.server(mesh_server());
    assert!(
        handshake(&a.client(pinned(right)), &server, a.clock.now())
            .client
            .is_ok()
    );
    let wrong = handshake(&a.client(pinned(Pin::Key([7; 32]))), &server, a.clock.now());
    assert_eq!(wrong.client.unwrap_err(), PeerError::NotPinned.into());

    let nobody = ClientTls {
        server: ServerCheck::Peer(PeerCheck {
            trust: None,
            ..PeerCheck::any(ROOT_CA)
        }),
        ..mesh_client("b")
    };
    assert_eq!(
        a.configs.client(&Arc::new(nobody)).unwrap_err(),
        ConfigError::NobodyIsChecked
    );
}

#[test]
fn revocation_lists_that_are_none_are_refused() {
    for pem in ["", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
        assert!(Revocation::from_pem(pem.as_bytes(), false).is_err(), "{pem:?}");
    }
}
