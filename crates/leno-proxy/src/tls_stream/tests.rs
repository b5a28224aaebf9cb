//! Against tokio-rustls, which keeps its own buffers, and against itself.

use std::sync::Arc;

use bytes::Bytes;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{RootCertStore, SupportedProtocolVersion, version};

use super::*;
use crate::prefixed::Prefixed;

fn configs(version: &'static SupportedProtocolVersion) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["server".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(client), Arc::new(server))
}

async fn sockets() -> (Prefixed, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connecting, listener.accept());
    let ours = Prefixed::new(Bytes::new(), accepted.unwrap().0);
    (ours, client.unwrap())
}

fn name() -> ServerName<'static> {
    ServerName::try_from("server").unwrap()
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Sends, hears its end, and answers with what it heard.
async fn talk(
    one: &mut (impl AsyncRead + AsyncWrite + Unpin),
    other: &mut (impl AsyncRead + AsyncWrite + Unpin),
    length: usize,
) {
    let sent = bytes(length);
    let sending = async {
        one.write_all(&sent).await.unwrap();
        one.shutdown().await.unwrap();
        let mut back = Vec::new();
        one.read_to_end(&mut back).await.unwrap();
        back
    };
    let echoing = async {
        let mut heard = Vec::new();
        other.read_to_end(&mut heard).await.unwrap();
        other.write_all(&heard).await.unwrap();
        other.shutdown().await.unwrap();
    };
    let (back, ()) = tokio::join!(sending, echoing);
    assert!(back == sent);
}

#[tokio::test]
async fn as_a_server_it_understands_another_client() {
    for version in [&version::TLS13, &version::TLS12] {
        let (client, server) = configs(version);
        let (ours, theirs) = sockets().await;
        let records = Records::default();
        let connecting = tokio_rustls::TlsConnector::from(client).connect(name(), theirs);
        let (accepted, connected) = tokio::join!(TlsStream::accept(&server, ours, &records), connecting);
        let (mut ours, mut theirs) = (accepted.unwrap(), connected.unwrap());
        talk(&mut theirs, &mut ours, 3_000_000).await;
        assert!(ours.unread.capacity() == 0 && ours.partial.capacity() == 0 && ours.unsent.capacity() == 0);
    }
}

#[tokio::test]
async fn as_a_client_it_understands_another_server() {
    for version in [&version::TLS13, &version::TLS12] {
        let (client, server) = configs(version);
        let (ours, theirs) = sockets().await;
        let records = Records::default();
        let accepting = tokio_rustls::TlsAcceptor::from(server).accept(theirs);
        let (connected, accepted) =
            tokio::join!(TlsStream::connect(&client, name(), ours, &records), accepting);
        let (mut ours, mut theirs) = (connected.unwrap(), accepted.unwrap());
        talk(&mut ours, &mut theirs, 3_000_000).await;
    }
}

#[tokio::test]
async fn two_streams_of_one_worker_do_not_disturb_each_other() {
    let (client, server) = configs(&version::TLS13);
    let (ours, theirs) = sockets().await;
    let records = Records::default();
    let theirs = Prefixed::new(Bytes::new(), theirs);
    let (accepted, connected) = tokio::join!(
        TlsStream::accept(&server, ours, &records),
        TlsStream::connect(&client, name(), theirs, &records)
    );
    let (mut ours, mut theirs) = (accepted.unwrap(), connected.unwrap());
    talk(&mut ours, &mut theirs, 3_000_000).await;
}

#[tokio::test]
async fn records_that_come_byte_by_byte_are_put_together() {
    let (client, server) = configs(&version::TLS13);
    let (ours, theirs) = sockets().await;
    let (mut near, far) = tokio::io::duplex(1);
    let (mut read, mut write) = theirs.into_split();
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(&mut near);
        let there = async {
            let mut byte = [0];
            while from.read(&mut byte).await.unwrap_or(0) > 0 {
                write.write_all(&byte).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let back = tokio::io::copy(&mut read, &mut to);
        let _ = tokio::join!(there, back);
    });
    let records = Records::default();
    let connecting = tokio_rustls::TlsConnector::from(client).connect(name(), far);
    let (accepted, connected) = tokio::join!(TlsStream::accept(&server, ours, &records), connecting);
    let (mut ours, mut theirs) = (accepted.unwrap(), connected.unwrap());
    talk(&mut theirs, &mut ours, 20_000).await;
}

#[tokio::test]
async fn a_small_reader_gets_all_of_a_record() {
    let (client, server) = configs(&version::TLS13);
    let (ours, theirs) = sockets().await;
    let records = Records::default();
    let connecting = tokio_rustls::TlsConnector::from(client).connect(name(), theirs);
    let (accepted, connected) = tokio::join!(TlsStream::accept(&server, ours, &records), connecting);
    let (mut ours, mut theirs) = (accepted.unwrap(), connected.unwrap());
    theirs.write_all(&bytes(16_000)).await.unwrap();
    let mut heard = [0; 16_000];
    for piece in heard.chunks_mut(7) {
        ours.read_exact(piece).await.unwrap();
    }
    assert!(heard[..] == bytes(16_000));
    assert_eq!(ours.unread.capacity(), 0, "what has been read is not kept");
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error() {
    let (client, server) = configs(&version::TLS13);
    let (ours, theirs) = sockets().await;
    let records = Records::default();
    let connecting = tokio_rustls::TlsConnector::from(client).connect(name(), theirs);
    let (accepted, connected) = tokio::join!(TlsStream::accept(&server, ours, &records), connecting);
    let (mut ours, mut theirs) = (accepted.unwrap(), connected.unwrap());
    theirs.get_mut().0.shutdown().await.unwrap();
    let error = ours.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn who_is_refused_is_told_why() {
    let (_, server) = configs(&version::TLS13);
    let (stranger, _) = configs(&version::TLS13);
    let (ours, theirs) = sockets().await;
    let records = Records::default();
    let accepting = tokio_rustls::TlsAcceptor::from(server).accept(theirs);
    let (connected, accepted) =
        tokio::join!(TlsStream::connect(&stranger, name(), ours, &records), accepting);
    assert_eq!(connected.unwrap_err().kind(), io::ErrorKind::InvalidData);
    let told = accepted.unwrap_err();
    let told = told.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    assert!(matches!(told, Some(rustls::Error::AlertReceived(_))), "{told:?}");
}

#[tokio::test]
async fn a_forged_record_ends_the_connection() {
    let (client, server) = configs(&version::TLS13);
    let (ours, theirs) = sockets().await;
    let records = Records::default();
    let connecting = tokio_rustls::TlsConnector::from(client).connect(name(), theirs);
    let (accepted, connected) = tokio::join!(TlsStream::accept(&server, ours, &records), connecting);
    let mut ours = accepted.unwrap();
    let mut theirs = connected.unwrap();
    let forged = [&[23, 3, 3, 0, 32][..], &[9; 32]].concat();
    theirs.get_mut().0.write_all(&forged).await.unwrap();
    let error = ours.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(ours.write_all(b"more").await.is_err());
}

#[tokio::test]
async fn a_slow_receiver_holds_one_write() {
    let (client, server) = configs(&version::TLS13);
    let (ours, theirs) = sockets().await;
    let records = Records::default();
    let connecting = tokio_rustls::TlsConnector::from(client).connect(name(), theirs);
    let (accepted, connected) = tokio::join!(TlsStream::accept(&server, ours, &records), connecting);
    let mut ours = accepted.unwrap();
    let _silent = connected.unwrap();
    let plain = bytes(MOST_SEALED);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut writes = 0;
    while Pin::new(&mut ours).poll_write(&mut cx, &plain).is_ready() {
        writes += 1;
        assert!(writes < 1000, "never pending");
        assert!(ours.unsent.len() <= RECORDS);
    }
    assert!(writes > 0 && !ours.unsent.is_empty());
}

/// Passes bytes on in pieces of `piece`, with the one at `wrong` changed, if there are so many.
async fn corrupt(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    wrong: Option<usize>,
    piece: usize,
) -> bool {
    let (mut buffer, mut seen, mut changed) = (vec![0; piece], 0, false);
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let wrong = wrong.and_then(|at| at.checked_sub(seen));
        if let Some(byte) = wrong.and_then(|at| buffer[..read].get_mut(at)) {
            *byte ^= 0x55;
            changed = true;
        }
        seen += read;
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    changed
}

/// One handshake and one exchange: whether a byte was changed, and whether all came to a good end. Nobody reads after its own close_notify: a record
/// that is wrong then trips a debug assertion of rustls 0.23 (`send_fatal_alert`), which release builds do not have.
async fn disturbed(
    configs: &(Arc<ClientConfig>, Arc<ServerConfig>),
    (to_server, to_client): (Option<usize>, Option<usize>),
    piece: usize,
) -> (bool, bool) {
    let ((server_side, near), (client_side, far)) = tokio::join!(sockets(), sockets());
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    let between = async {
        let there = corrupt(far_read, near_write, to_server, piece);
        let back = corrupt(near_read, far_write, to_client, piece);
        let (there, back) = tokio::join!(there, back);
        there || back
    };
    let records = Records::default();
    let client = async {
        let mut stream = TlsStream::connect(&configs.0, name(), client_side, &records).await?;
        stream.write_all(b"question").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, io::Error>(answer == b"answer")
    };
    let server = async {
        let mut stream = TlsStream::accept(&configs.1, server_side, &records).await?;
        let mut question = [0; 8];
        stream.read_exact(&mut question).await?;
        stream.write_all(b"answer").await?;
        stream.shutdown().await?;
        Ok::<_, io::Error>(&question == b"question")
    };
    let (client, server, changed) = tokio::join!(client, server, between);
    (changed, client.unwrap_or(false) && server.unwrap_or(false))
}

#[tokio::test]
async fn a_byte_changed_on_the_way_ends_the_connection_and_nothing_else() {
    let configs = configs(&version::TLS13);
    for piece in [1, 100, 4096] {
        let undisturbed = disturbed(&configs, (None, None), piece).await;
        assert_eq!(undisturbed, (false, true), "{piece}");
    }
    // The hellos, the certificate, the tickets, the data: every region of both directions.
    for wrong in (0..2600).step_by(23) {
        for place in [(Some(wrong), None), (None, Some(wrong))] {
            let (changed, good) = disturbed(&configs, place, 1 + wrong % 700).await;
            assert_eq!(changed, !good, "{place:?}");
        }
    }
}
