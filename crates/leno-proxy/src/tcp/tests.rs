use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::ending::Lifetime;
use crate::hurry::Shorter;
use crate::idle::{Limits, Streams};

impl Carrier for DuplexStream {}

impl Carrier for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

#[tokio::test]
async fn a_half_close_lets_the_other_direction_go_on() {
    let (mut client, mut downstream) = duplex(64);
    let (mut upstream, mut server) = duplex(64);
    let scratch = Scratch::default();
    let ending = Ending::new(&Arc::default(), Lifetime::default(), Instant::now());
    let copy = copy_both(&mut downstream, &mut upstream, None, &scratch, &ending);
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        server.read_to_string(&mut asked).await.unwrap();
        assert_eq!(asked, "question");
        // More than the pipe holds: what does not fit waits without loss.
        let writer = async {
            server.write_all(&[7; 1000]).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let mut answer = Vec::new();
        let (read, ()) = tokio::join!(client.read_to_end(&mut answer), writer);
        assert_eq!(read.unwrap(), 1000);
    };
    let (ended, ()) = tokio::join!(copy, talk);
    assert!(matches!(
        ended.why,
        Why::Finished {
            downstream_first: true
        }
    ));
    assert_eq!((ended.received, ended.sent), (8, 1000));
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), accepted.unwrap().0)
}

#[tokio::test]
async fn the_end_of_the_last_direction_takes_no_system_call_of_its_own() {
    let (mut client, mut downstream) = connected().await;
    let (mut upstream, mut server) = connected().await;
    let scratch = Scratch::default();
    let ending = Ending::new(&Arc::default(), Lifetime::default(), Instant::now());
    let copy = copy_both(&mut downstream, &mut upstream, None, &scratch, &ending);
    let talk = async {
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        server.shutdown().await.unwrap();
    };
    let (ended, ()) = tokio::join!(copy, talk);
    assert!(matches!(ended.why, Why::Finished { .. }));
    let client = client.into_std().unwrap();
    let not_yet = client.peek(&mut [0]).map_err(|error| error.kind());
    assert_eq!(not_yet, Err(io::ErrorKind::WouldBlock));
    drop(downstream);
    assert_eq!(client.peek(&mut [0]).unwrap(), 0);
}

#[tokio::test]
async fn bulk_goes_through_a_pipe_unchanged_and_the_pipe_is_given_back() {
    let (mut client, mut from) = connected().await;
    let (mut to, mut server) = connected().await;
    let scratch = Scratch::default();
    let pipe = scratch.shared.pipes.lend().unwrap();
    let mut half = Half {
        pipe: Some(Box::new(Splice { pipe, last: BULK })),
        ..Half::default()
    };
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n / 7) as u8).collect();
    let writing = async {
        client.write_all(&sent).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let copying = std::future::poll_fn(|cx| half.poll(&mut from, &mut to, &scratch, false, cx));
    let mut received = Vec::new();
    let ((), copied, read) = tokio::join!(writing, copying, server.read_to_end(&mut received));
    assert!(copied.is_ok() && read.is_ok());
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert_eq!(half.bytes, sent.len() as u64);
    assert!(half.pipe.is_none());
}

#[tokio::test]
async fn nothing_moving_for_the_idle_time_ends_it() {
    let (mut client, mut downstream) = duplex(64);
    let (mut upstream, mut server) = duplex(64);
    let scratch = Scratch::default();
    let (begin, minute) = (Instant::now(), Duration::from_secs(60));
    let streams = Streams::default();
    let watch = Rc::new(Watch::new(
        begin,
        Limits {
            idle: Some(minute),
            ..Limits::default()
        },
    ));
    streams.add(&watch);
    let ending = Ending::new(&Arc::default(), Lifetime::default(), begin);
    let copy = copy_both(&mut downstream, &mut upstream, Some(&watch), &scratch, &ending);
    let mut copy = std::pin::pin!(copy);
    let talk = async {
        client.write_all(b"!").await.unwrap();
        server.read_exact(&mut [0]).await.unwrap();
    };
    tokio::select! {
        ended = copy.as_mut() => panic!("{ended:?}"),
        () = talk => {}
    }
    streams.sweep(begin + minute, Shorter::default());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(copy.as_mut().poll(&mut cx).is_pending(), "it has moved");
    streams.sweep(begin + minute * 2, Shorter::default());
    assert!(matches!(copy.await.why, Why::Idle));
}
