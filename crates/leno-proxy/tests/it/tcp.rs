//! `tcp_proxy`.

use leno_engine::flags::Flag;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Harness, listener, tcp_chain, tcp_server};

#[tokio::test]
async fn a_half_close_reaches_the_other_side() {
    let upstream = tcp_server(|mut stream, _| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream
            .write_all(&all.len().to_string().into_bytes())
            .await
            .unwrap();
    })
    .await;
    let harness = Harness::start();
    let address = harness.serve(listener("tcp", tcp_chain("c")), &[upstream]);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(&vec![1; 3_000_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "3000000");
    let record = harness.records.connection(0).await;
    assert_eq!((record.received, record.sent), (3_000_000, 7));
    assert!(record.flags.is_empty());
}

#[tokio::test]
async fn no_upstream_closes_the_connection_with_a_flag() {
    let harness = Harness::start();
    let address = harness.serve(listener("tcp", tcp_chain("c")), &[]);
    let mut client = TcpStream::connect(address).await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    let record = harness.records.connection(0).await;
    assert!(record.flags.contains(Flag::NoHealthyUpstream), "{record:?}");
}
