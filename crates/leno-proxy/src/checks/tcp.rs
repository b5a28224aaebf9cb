//! Bytes there, and bytes that are to come back.

use bytes::BytesMut;
use leno_engine::compile::cluster::health_check::TcpProbe;
use leno_engine::decide::health::Failure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::io::Io;

/// What is looked through at most for what is to come.
const MOST: usize = 1024 * 1024;

pub(super) struct TcpConnection {
    io: Io,
}

impl TcpConnection {
    pub(super) fn new(io: Io) -> Self {
        Self { io }
    }

    pub(super) async fn ask(&mut self, probe: &TcpProbe) -> Result<(), Failure> {
        if !probe.send.is_empty() {
            let sent = self.io.write_all(&probe.send).await;
            sent.map_err(|_| Failure::Network)?;
            self.io.flush().await.map_err(|_| Failure::Network)?;
        }
        let mut received = BytesMut::new();
        while !probe.is_answer(&received) {
            match self.io.read_buf(&mut received).await {
                Ok(read) if read > 0 && received.len() <= MOST => {}
                _ => return Err(Failure::Network),
            }
        }
        Ok(())
    }

    /// What comes unasked is not looked at.
    pub(super) async fn ended(&mut self) {
        let mut ignored = [0; 1024];
        while matches!(self.io.read(&mut ignored).await, Ok(read) if read > 0) {}
    }
}
