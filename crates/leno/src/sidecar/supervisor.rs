//! The conversation with the supervisor in the application's namespace, on the proxy's control thread.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use leno_proxy::{Family as ProxyFamily, WorkloadSockets};
use leno_run::{Channel, Family, FromProxy, NamespaceListener, ToProxy};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// Sockets kept ready of each family in use, so that a request rarely waits for the supervisor.
const STOCK: usize = 16;
const SOCKET_TIMEOUT: Duration = Duration::from_secs(5);

/// The supervisor's words, in order.
pub struct Supervisor {
    channel: AsyncFd<Polled>,
    requests: mpsc::UnboundedReceiver<Family>,
    stock: Arc<Stock>,
    asked: HashMap<Family, usize>,
}

/// A channel as tokio waits for it.
struct Polled(Channel);

impl AsRawFd for Polled {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What the rest of the proxy hears.
#[derive(Debug)]
pub enum News {
    Listening(u16),
    Closed(u16),
    Stopping,
    Exited,
    /// Supervisor and command are gone.
    Gone,
}

/// Sockets of the application's namespace.
#[derive(Debug)]
pub struct Stock {
    ready: Mutex<HashMap<Family, Shelf>>,
    wanted: mpsc::UnboundedSender<Family>,
}

#[derive(Debug, Default)]
struct Shelf {
    sockets: Vec<OwnedFd>,
    waiting: std::collections::VecDeque<oneshot::Sender<OwnedFd>>,
}

impl Supervisor {
    pub fn new(channel: Channel) -> io::Result<Self> {
        let (wanted, requests) = mpsc::unbounded_channel();
        let stock = Arc::new(Stock {
            ready: Mutex::default(),
            wanted,
        });
        #[expect(
            deprecated,
            reason = "its successor is unsafe; `Polled` owns its one descriptor, so it stays the same"
        )]
        let channel = AsyncFd::new(Polled(channel))?;
        Ok(Self {
            channel,
            requests,
            stock,
            asked: HashMap::new(),
        })
    }

    pub fn stock(&self) -> Arc<Stock> {
        Arc::clone(&self.stock)
    }

    /// The first message: the listeners in the application's namespace.
    pub async fn listeners(&mut self) -> anyhow::Result<Vec<(NamespaceListener, OwnedFd)>> {
        match self.receive().await.context("the supervisor's first message")? {
            Some((ToProxy::Listeners(listeners), descriptors)) if listeners.len() == descriptors.len() => {
                Ok(listeners.into_iter().zip(descriptors).collect())
            }
            Some((other, _)) => bail!("the supervisor began with {other:?} instead of its listeners"),
            None => bail!("the supervisor is gone"),
        }
    }

    pub async fn say(&self, message: &FromProxy) -> io::Result<()> {
        loop {
            let mut ready = self.channel.writable().await?;
            match ready.try_io(|channel| channel.get_ref().0.try_send(message, &[])) {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    /// The next thing that concerns the proxy; sockets are handed on in between.
    pub async fn next(&mut self) -> News {
        loop {
            tokio::select! {
                message = receive(&self.channel) => match message {
                    Ok(Some((message, descriptors))) => {
                        if let Some(news) = self.hear(message, descriptors) {
                            return news;
                        }
                    }
                    Ok(None) => return News::Gone,
                    Err(error) => {
                        tracing::warn!(%error, "the supervisor cannot be understood");
                        return News::Gone;
                    }
                },
                Some(family) = self.requests.recv() => self.order(family).await,
            }
        }
    }

    async fn receive(&self) -> io::Result<Option<(ToProxy, Vec<OwnedFd>)>> {
        receive(&self.channel).await
    }

    fn hear(&mut self, message: ToProxy, descriptors: Vec<OwnedFd>) -> Option<News> {
        match message {
            ToProxy::Sockets { family, error } => {
                if let Some(error) = error {
                    tracing::warn!(%error, ?family, "no socket in the application's namespace");
                    self.stock.give_up(family);
                }
                self.asked.insert(family, 0);
                self.stock.fill(family, descriptors);
                None
            }
            ToProxy::Listening { port, .. } => Some(News::Listening(port)),
            ToProxy::Closed { port } => Some(News::Closed(port)),
            ToProxy::Stopping { .. } => Some(News::Stopping),
            ToProxy::Exited { .. } => Some(News::Exited),
            ToProxy::Listeners(_) => None,
        }
    }

    /// One order a family at a time, large enough for those that wait and the stock.
    async fn order(&mut self, family: Family) {
        if self.asked.get(&family).copied().unwrap_or(0) > 0 {
            return;
        }
        let count = (STOCK + self.stock.waiting(family)).min(leno_run::MAX_SOCKETS);
        self.asked.insert(family, count);
        if let Err(error) = self.say(&FromProxy::NeedSockets { family, count }).await {
            tracing::warn!(%error, "the supervisor does not hear");
        }
    }
}

async fn receive(channel: &AsyncFd<Polled>) -> io::Result<Option<(ToProxy, Vec<OwnedFd>)>> {
    loop {
        let mut ready = channel.readable().await?;
        match ready.try_io(|channel| channel.get_ref().0.try_recv()) {
            Ok(result) => return result,
            Err(_would_block) => {}
        }
    }
}

impl Shelf {
    /// To the first who still waits; back if nobody does.
    fn serve(&mut self, mut socket: OwnedFd) -> Option<OwnedFd> {
        while let Some(waiter) = self.waiting.pop_front() {
            match waiter.send(socket) {
                Ok(()) => return None,
                Err(unused) => socket = unused,
            }
        }
        Some(socket)
    }
}

impl Stock {
    /// There are none to be had (a machine without IPv6, say): those who wait hear it at once, and nobody asks again
    /// on their behalf.
    fn give_up(&self, family: Family) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.entry(family).or_default().waiting.clear();
    }

    fn fill(&self, family: Family, sockets: Vec<OwnedFd>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = ready.entry(family).or_default();
        for socket in sockets {
            let unused = shelf.serve(socket);
            shelf.sockets.extend(unused);
        }
        if !shelf.waiting.is_empty() {
            // The supervisor's side has an end only when we have: nobody is left to hear.
            let _ = self.wanted.send(family);
        }
    }

    fn waiting(&self, family: Family) -> usize {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.get(&family).map_or(0, |shelf| shelf.waiting.len())
    }

    fn take(&self, family: Family) -> Result<OwnedFd, oneshot::Receiver<OwnedFd>> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = ready.entry(family).or_default();
        let socket = shelf.sockets.pop();
        if shelf.sockets.len() < STOCK / 4 {
            let _ = self.wanted.send(family);
        }
        socket.ok_or_else(|| {
            let (give, wait) = oneshot::channel();
            shelf.waiting.push_back(give);
            wait
        })
    }
}

/// How the workers get at the stock.
#[derive(Debug)]
pub struct AppSockets(pub Arc<Stock>);

impl WorkloadSockets for AppSockets {
    fn open(&self, family: ProxyFamily) -> Pin<Box<dyn Future<Output = io::Result<OwnedFd>> + Send>> {
        let family = match family {
            ProxyFamily::V4 => Family::V4,
            ProxyFamily::V6 => Family::V6,
        };
        let taken = self.0.take(family);
        Box::pin(async move {
            match taken {
                Ok(socket) => Ok(socket),
                Err(wait) => match tokio::time::timeout(SOCKET_TIMEOUT, wait).await {
                    Ok(Ok(socket)) => Ok(socket),
                    Ok(Err(_)) | Err(_) => Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "no socket from the supervisor",
                    )),
                },
            }
        })
    }
}
