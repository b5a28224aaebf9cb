//! Secrets change while connections are open.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use leno_tls::{
    ClientTls, HandshakeFailure, Identity, IdentityError, PeerError, PendingIdentity, ROOT_CA, Resumption,
    ServerTls, TICKET_KEY_BYTES, TicketKeys, TrustBundle,
};
use rustls::HandshakeKind;

use crate::pki::{DAY, End, NOW, TestCa, handshake, mesh_client, mesh_server, spiffe};

fn resuming_client() -> ClientTls {
    ClientTls {
        resumption: Resumption::Sessions(8),
        ..mesh_client("b")
    }
}

fn resuming_server() -> ServerTls {
    ServerTls {
        resumption: Resumption::Sessions(8),
        ..mesh_server()
    }
}

#[test]
fn a_renewed_certificate_is_used_by_new_handshakes_only() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let before = handshake(
        &a.client(mesh_client("b")),
        &b.server(mesh_server()),
        a.clock.now(),
    );
    let old_hash = before.client.as_ref().unwrap().certificate_hash.clone();

    b.secrets
        .set_identity("default", ca.identity(&spiffe("b"), &b.crypto));
    let after = handshake(
        &a.client(mesh_client("b")),
        &b.server(mesh_server()),
        a.clock.now(),
    );
    assert_ne!(after.client.unwrap().certificate_hash, old_hash);

    let (mut client, mut server) = before.connections;
    client.writer().write_all(b"still open").unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap();
    let mut got = [0; 10];
    server.reader().read_exact(&mut got).unwrap();
    assert_eq!(&got, b"still open");
}

#[test]
fn an_unchanged_configuration_is_kept_and_a_replaced_one_is_not() {
    let ca = TestCa::new("mesh");
    let mut b = End::in_mesh(&ca, "b");
    let first = b.server(mesh_server()).config().clone();
    b.secrets
        .set_bundle("unrelated", TestCa::new("unrelated").bundle());
    assert!(
        Arc::ptr_eq(&first, b.server(mesh_server()).config()),
        "an unrelated secret changed"
    );
    b.secrets.set_bundle(ROOT_CA, TestCa::new("another").bundle());
    assert!(!Arc::ptr_eq(&first, b.server(mesh_server()).config()));
}

#[test]
fn sessions_are_resumed_when_asked_for_and_keep_the_identity() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    for (expected, round) in [(false, 1), (true, 2)] {
        let outcome = handshake(
            &a.client(resuming_client()),
            &b.server(resuming_server()),
            a.clock.now(),
        );
        let (server, client) = outcome.both();
        assert_eq!(
            (server.resumed, client.resumed),
            (expected, expected),
            "round {round}"
        );
        assert_eq!(client.id.unwrap().as_str(), spiffe("a"));
        assert_eq!(server.id.unwrap().as_str(), spiffe("b"));
    }
    let off = handshake(
        &a.client(mesh_client("b")),
        &b.server(mesh_server()),
        a.clock.now(),
    );
    assert!(!off.client.unwrap().resumed, "the mesh's default stores nothing");
}

#[test]
fn resumption_does_not_outlive_a_change_of_trust() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let (mut a, mut b) = (End::in_mesh(&old, "a"), End::in_mesh(&old, "b"));
    handshake(
        &a.client(resuming_client()),
        &b.server(resuming_server()),
        a.clock.now(),
    )
    .both();
    // The server trusts the new authority only; the client still offers its session.
    b.secrets.set_bundle(ROOT_CA, new.bundle());
    let outcome = handshake(
        &a.client(resuming_client()),
        &b.server(resuming_server()),
        a.clock.now(),
    );
    assert_eq!(outcome.server.unwrap_err(), PeerError::UnknownCa.into());

    let (mut a, mut b) = (End::in_mesh(&old, "a"), End::in_mesh(&old, "b"));
    handshake(
        &a.client(resuming_client()),
        &b.server(resuming_server()),
        a.clock.now(),
    )
    .both();
    // The client trusts the new authority only; the server would resume.
    a.secrets.set_bundle(ROOT_CA, new.bundle());
    let outcome = handshake(
        &a.client(resuming_client()),
        &b.server(resuming_server()),
        a.clock.now(),
    );
    assert_eq!(outcome.client.unwrap_err(), PeerError::UnknownCa.into());
}

#[test]
fn a_session_made_for_one_name_is_not_resumed_for_another() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    let server = b.server(resuming_server());
    handshake(&a.client(resuming_client()), &server, a.clock.now()).both();
    let other = ClientTls {
        resumption: Resumption::Sessions(8),
        ..mesh_client("c")
    };
    let failure = handshake(&a.client(other), &server, a.clock.now())
        .client
        .unwrap_err();
    assert!(
        matches!(failure, HandshakeFailure::Peer(PeerError::SanMismatch { .. })),
        "{failure}"
    );
}

#[test]
fn resumption_does_not_lengthen_a_certificates_life() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    b.secrets.set_identity(
        "default",
        ca.identity_between(&spiffe("b"), NOW - DAY, NOW + 9 * DAY, &b.crypto),
    );
    a.secrets.set_identity(
        "default",
        ca.identity_between(&spiffe("a"), NOW - DAY, NOW + 60, &a.crypto),
    );
    handshake(
        &a.client(resuming_client()),
        &b.server(resuming_server()),
        a.clock.now(),
    )
    .both();
    a.clock.set(NOW + 120);
    b.clock.set(NOW + 120);
    let outcome = handshake(
        &a.client(resuming_client()),
        &b.server(resuming_server()),
        b.clock.now(),
    );
    assert!(outcome.client.unwrap().resumed, "else this test shows nothing");
    assert!(matches!(
        outcome.server,
        Err(HandshakeFailure::Peer(PeerError::Expired { .. }))
    ));
}

#[test]
fn identities_that_do_not_fit_are_refused() {
    let ca = TestCa::new("mesh");
    let end = End::new();
    let pending = |account: &str| PendingIdentity::generate(spiffe(account).parse().unwrap()).unwrap();
    let (mine, other) = (pending("a"), pending("a"));
    let for_other = ca.answer(other.csr_pem(), NOW - DAY, NOW + DAY);
    let mismatch = mine.complete(&[for_other], &end.crypto).unwrap_err();
    assert!(
        matches!(mismatch, IdentityError::KeyMismatch { .. }),
        "{mismatch}"
    );
    let no_bundle = TrustBundle::from_pem(b"", "roots.pem").unwrap_err().to_string();
    assert!(no_bundle.contains("roots.pem"), "{no_bundle}");
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let swapped = Identity::from_pem(ca.pem().as_bytes(), "c.pem", key.as_bytes(), "k.pem", &end.crypto);
    assert!(swapped.unwrap_err().to_string().contains("k.pem"));
}

#[test]
fn the_root_is_not_sent_and_half_life_is_half_of_the_life() {
    let end = End::new();
    let identity = TestCa::new("mesh").identity(&spiffe("a"), &end.crypto);
    assert_eq!(identity.chain().len(), 1);
    assert_eq!(identity.half_life(), end.clock.now());
}

#[test]
fn a_ticket_is_taken_by_every_server_that_has_its_key() {
    let ca = TestCa::new("mesh");
    let mut a = End::in_mesh(&ca, "a");
    let server = |key: u8| {
        let end = End::in_mesh(&ca, "b");
        end.secrets
            .set_tickets("keys", TicketKeys::new(&[vec![key; TICKET_KEY_BYTES]]).unwrap());
        end
    };
    let tls = |lifetime| ServerTls {
        resumption: Resumption::Tickets {
            keys: "keys".into(),
            lifetime: Duration::from_secs(lifetime),
        },
        ..mesh_server()
    };
    let mut kinds = Vec::new();
    for (mut b, lifetime) in [(server(1), 60), (server(1), 60), (server(2), 60), (server(2), 61)] {
        let outcome = handshake(
            &a.client(resuming_client()),
            &b.server(tls(lifetime)),
            a.clock.now(),
        );
        kinds.push(outcome.connections.1.handshake_kind());
        let (_, client) = outcome.both();
        assert_eq!(client.id.map(|id| id.to_string()), Some(spiffe("a")));
    }
    let [full, resumed] = [HandshakeKind::Full, HandshakeKind::Resumed].map(Some);
    assert_eq!(kinds, [full, resumed, full, full], "another key, other settings");
}

#[test]
fn a_ticket_outlives_neither_the_trust_nor_the_revocations_under_which_it_was_made() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let mut a = End::in_mesh(&old, "a");
    a.secrets.set_bundle(ROOT_CA, both(&old, &new));
    let mut b = End::in_mesh(&old, "b");
    b.secrets
        .set_tickets("keys", TicketKeys::new(&[vec![1; TICKET_KEY_BYTES]]).unwrap());
    let tls = || ServerTls {
        resumption: Resumption::Tickets {
            keys: "keys".into(),
            lifetime: Duration::from_secs(3600),
        },
        ..mesh_server()
    };
    let mut call = |b: &mut End| {
        let outcome = handshake(&a.client(resuming_client()), &b.server(tls()), a.clock.now());
        let kind = outcome.connections.1.handshake_kind();
        (kind, outcome.server.map(|peer| peer.resumed))
    };
    let [full, resumed] = [HandshakeKind::Full, HandshakeKind::Resumed].map(Some);
    assert_eq!(call(&mut b), (full, Ok(false)));
    assert_eq!(call(&mut b), (resumed, Ok(true)));
    // Another root is trusted besides: who comes is verified again, and again has a ticket.
    b.secrets.set_bundle(ROOT_CA, both(&old, &new));
    assert_eq!(call(&mut b), (full, Ok(false)));
    assert_eq!(call(&mut b), (resumed, Ok(true)));
    // Something is taken back, and not this one.
    b.secrets.set_bundle(ROOT_CA, old.revoking(&["77"]));
    assert_eq!(call(&mut b), (full, Ok(false)));
    assert_eq!(call(&mut b), (resumed, Ok(true)));
    // The old root is retired.
    b.secrets.set_bundle(ROOT_CA, new.bundle());
    assert_eq!(call(&mut b).1, Err(PeerError::UnknownCa.into()));
}

#[test]
fn a_session_of_a_revoked_certificate_is_not_resumed() {
    let ca = TestCa::new("mesh");
    let (mut a, mut b) = (End::in_mesh(&ca, "a"), End::in_mesh(&ca, "b"));
    b.secrets.set_tickets("keys", TicketKeys::random().unwrap());
    let serial = a
        .secrets
        .load()
        .identity("default")
        .unwrap()
        .info()
        .serial
        .clone();
    let tls = || ServerTls {
        resumption: Resumption::Tickets {
            keys: "keys".into(),
            lifetime: Duration::from_secs(3600),
        },
        ..mesh_server()
    };
    for resumed in [false, true] {
        let outcome = handshake(&a.client(resuming_client()), &b.server(tls()), a.clock.now());
        assert_eq!(outcome.server.unwrap().resumed, resumed);
    }
    b.secrets.set_bundle(ROOT_CA, ca.revoking(&[&serial]));
    let outcome = handshake(&a.client(resuming_client()), &b.server(tls()), a.clock.now());
    assert_eq!(outcome.server.unwrap_err(), PeerError::Revoked.into());
}

fn both(first: &TestCa, second: &TestCa) -> TrustBundle {
    let pem = first.pem() + &second.pem();
    TrustBundle::from_pem(pem.as_bytes(), "two roots").unwrap()
}

#[test]
fn a_certificate_is_known_to_be_of_the_root_that_signs() {
    let (old, new) = (TestCa::new("mesh"), TestCa::new("mesh"));
    let end = End::new();
    let identity = old.identity(&spiffe("a"), &end.crypto);
    assert!(identity.is_of_first(&both(&old, &new)));
    assert!(!identity.is_of_first(&both(&new, &old)), "one of the same name");
    let expired = old.identity_between(&spiffe("a"), NOW - 2 * DAY, NOW - DAY, &end.crypto);
    assert!(expired.is_of_first(&both(&old, &new)), "its age does not count");
}
