//! `tcp_proxy`: one upstream connection for one downstream connection.

mod connecting;
mod first_words;
mod outcome;
mod record;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use leno_engine::compile::listener::TcpProxy;
use leno_engine::compile::log_filter::LogType;
use leno_telemetry::record::DownstreamRecord;
use leno_telemetry::stats::TcpStat;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

pub(crate) use self::connecting::Origin;
use self::connecting::{Connected, Unconnected, connect};
use self::first_words::first_words;
use self::outcome::{Outcome, flags, judge};
use self::record::{log, record_of, report, upstream_record};
use crate::connection::{Connection, Serving};
use crate::destination::Behalf;
use crate::drain::CutBy;
use crate::ending::{Ending, Lifetime};
use crate::guard;
use crate::idle::{Limits, Watch};
use crate::io::Io;
use crate::outcome::Failure;
use crate::tcp::{self, Ended, Scratch, Why};
use crate::worker::Worker;

/// An upstream connection that was made before the client said anything, and how it began.
#[derive(Debug)]
pub(crate) struct Early {
    connected: Result<Connected, Unconnected>,
    /// What the server said first.
    greeting: Bytes,
}

/// The upstream connection of a client that has not spoken yet.
#[derive(Debug, Default)]
pub(crate) struct Race(RefCell<Option<Connected>>);

impl Race {
    /// Connects as [`serve`] would, and comes back when the server has spoken, or cannot be reached.
    pub(crate) async fn await_server(&self, worker: &Rc<Worker>, tcp: &TcpProxy, of: &Origin<'_>) -> Early {
        match connect(worker, tcp, of).await {
            Ok(connected) => self.0.replace(Some(connected)),
            Err(failure) => {
                return Early {
                    connected: Err(failure),
                    greeting: Bytes::new(),
                };
            }
        };
        let mut greeting = BytesMut::with_capacity(4096);
        // Its end, or an error, comes again with the next read.
        let read = poll_fn(|cx| match &mut *self.0.borrow_mut() {
            Some(connected) => poll_read_buf(Pin::new(&mut connected.io), cx, &mut greeting),
            None => Poll::Pending,
        })
        .await;
        tracing::trace!(?read, "the server spoke first");
        Early {
            connected: self.0.take().ok_or(Failure::NoHealthyUpstream.into()),
            greeting: greeting.freeze(),
        }
    }

    /// The client has spoken first after all: the connection, if it was made in the meantime.
    pub(crate) fn won_by_client(&self) -> Option<Early> {
        self.0.take().map(|connected| Early {
            connected: Ok(connected),
            greeting: Bytes::new(),
        })
    }
}

/// One read, appended.
fn poll_read_buf(io: Pin<&mut Io>, cx: &mut Context<'_>, into: &mut BytesMut) -> Poll<io::Result<()>> {
    let mut space = [0; 4096];
    let mut buf = ReadBuf::new(&mut space);
    ready!(io.poll_read(cx, &mut buf))?;
    into.extend_from_slice(buf.filled());
    Poll::Ready(Ok(()))
}

/// A connection and its upstream's.
struct Relay {
    worker: Rc<Worker>,
    downstream: Rc<Connection>,
    tcp: Arc<TcpProxy>,
    io: Io,
    connected: Connected,
    /// Of few connections.
    early: Option<Box<EarlyWords>>,
    start: (SystemTime, Instant),
}

/// What was said before there was a connection on both sides.
struct EarlyWords {
    /// By the server.
    greeting: Bytes,
    /// By the client.
    said: Bytes,
}

/// Connects a connection to its upstream; what it gives back serves it to its end.
pub(crate) async fn open(
    worker: Rc<Worker>,
    downstream: Connection,
    tcp: &Arc<TcpProxy>,
    io: Io,
    early: Option<Early>,
) -> Option<Serving> {
    let start = (SystemTime::now(), Instant::now());
    worker.tcp_counts(&tcp.stat_prefix).inc(TcpStat::CxTotal);
    if tcp.log_options.at_start {
        let nothing = Outcome::default();
        log(
            &worker,
            &downstream,
            tcp,
            start,
            None,
            &nothing,
            LogType::TcpConnectionStart,
        );
    }
    let mut io = io;
    let said = match tcp.after_data {
        None => Bytes::new(),
        Some(most) => match first_words(&worker, &downstream, tcp, &mut io, most).await {
            Ok(said) => said,
            Err(why) => {
                let failure = Unconnected::from(Failure::NoHealthyUpstream);
                report(&worker, &downstream.record, tcp, start, Err(&failure), &why);
                return None;
            }
        },
    };
    let tlvs = tcp
        .tlvs
        .as_deref()
        .map(|tlvs| tlvs.merged(downstream.tlvs(), &*downstream.record));
    let (connected, greeting) = match early {
        Some(early) => (early.connected, early.greeting),
        None => {
            let of = Origin {
                server_name: downstream.record.sni.as_deref(),
                record: Some(&downstream.record),
                behalf: match &tlvs {
                    None => downstream.behalf(),
                    Some(tlvs) => Behalf {
                        tlvs,
                        ..downstream.behalf()
                    },
                },
                original: downstream
                    .noted_destination()
                    .or(downstream.original_destination()),
                direction: downstream.record.direction,
            };
            (connect(&worker, tcp, &of).await, Bytes::new())
        }
    };
    match connected {
        Ok(connected) => Some(
            Relay {
                worker,
                downstream: Rc::new(downstream),
                tcp: Arc::clone(tcp),
                io,
                connected,
                early: EarlyWords::new(greeting, said),
                start,
            }
            .run(),
        ),
        Err(unconnected) => {
            let failure = &unconnected.failure;
            tracing::debug!(destination = %downstream.destination, ?failure, "no upstream");
            let why = Outcome {
                received: said.len() as u64,
                sent: 0,
                flags: flags(failure, tcp.tunnel.is_some()),
                details: failure.details(),
                reset: false,
            };
            report(&worker, &downstream.record, tcp, start, Err(&unconnected), &why);
            None
        }
    }
}

impl EarlyWords {
    fn new(greeting: Bytes, said: Bytes) -> Option<Box<Self>> {
        match greeting.is_empty() && said.is_empty() {
            true => None,
            false => Some(Box::new(Self { greeting, said })),
        }
    }
}

impl Relay {
    /// One block, not an `async fn`: that would keep what it is given twice.
    fn run(mut self) -> Serving {
        Box::pin(async move {
            let record = &self.downstream.record;
            self.worker
                .reporter
                .opened(record, &upstream_record(&self.connected));
            if self.tcp.log_options.when_connected {
                self.log(&Outcome::default(), LogType::TcpUpstreamConnected);
            }
            let scratch = self.scratch();
            let ending = self.worker.ending(&self.downstream.drain, self.lifetime());
            let ended = match self.early.is_some() || self.tcp.log_options.every.is_some() {
                // Apart: other connections have no room for it.
                true => Box::pin(self.speak_and_copy(&scratch, &ending)).await,
                false => {
                    let idle = self.watch(&ending);
                    let upstream = &mut self.connected.io;
                    tcp::copy_both(&mut self.io, upstream, idle.as_deref(), &scratch, &ending).await
                }
            };
            let cut_by = match ending.cut_by() {
                None if ending.is_upstream_out() => Some("upstream_unhealthy"),
                None if ending.is_forbidden() => Some(CutBy::Policy.details()),
                by => by.map(CutBy::details),
            };
            let record = match cut_by {
                Some(by) if by == CutBy::Policy.details() => self.denied(),
                _ => Rc::clone(&self.downstream.record),
            };
            self.end(&ended, cut_by, &record);
        })
    }

    /// Passes on what was said early, and copies to the end; a line for the log every so often.
    async fn speak_and_copy(&mut self, scratch: &Scratch, ending: &Ending) -> Ended {
        let before = match self.early.take() {
            None => (0, 0),
            Some(early) => match self.speak(&early).await {
                Ok(()) => (early.said.len() as u64, early.greeting.len() as u64),
                Err(why) => {
                    return Ended {
                        received: early.said.len() as u64,
                        sent: early.greeting.len() as u64,
                        why,
                    };
                }
            },
        };
        let watch = self.watch(ending);
        let ended = self.copy(before, watch.as_deref(), scratch, ending).await;
        Ended {
            received: before.0 + ended.received,
            sent: before.1 + ended.sent,
            ..ended
        }
    }

    async fn speak(&mut self, early: &EarlyWords) -> Result<(), Why> {
        let greeted = self.io.write_all(&early.greeting).await;
        greeted.map_err(Why::Downstream)?;
        let said = self.connected.io.write_all(&early.said).await;
        said.map_err(Why::Upstream)
    }

    /// Copies to the end. `before`: bytes that have passed already, from the client and to it.
    async fn copy(
        &mut self,
        before: (u64, u64),
        watch: Option<&Watch>,
        scratch: &Scratch,
        ending: &Ending,
    ) -> Ended {
        let Connected {
            io: upstream,
            cluster,
            host,
            connection,
            ..
        } = &mut self.connected;
        let copying = tcp::copy_both(&mut self.io, upstream, watch, scratch, ending);
        let (Some(every), Some(watch)) = (self.tcp.log_options.every, watch) else {
            return copying.await;
        };
        let mut copying = pin!(copying);
        loop {
            tokio::select! {
                biased;
                ended = copying.as_mut() => return ended,
                () = tokio::time::sleep(every) => {}
            }
            let (received, sent) = watch.passed();
            let so_far = Outcome {
                received: before.0 + received,
                sent: before.1 + sent,
                ..Outcome::default()
            };
            log(
                &self.worker,
                &self.downstream,
                &self.tcp,
                self.start,
                Some(record_of(cluster, host, connection)),
                &so_far,
                LogType::TcpPeriodic,
            );
        }
    }

    fn log(&self, so_far: &Outcome, log_type: LogType) {
        let upstream = upstream_record(&self.connected);
        let (worker, downstream) = (&self.worker, &self.downstream);
        log(
            worker,
            downstream,
            &self.tcp,
            self.start,
            Some(upstream),
            so_far,
            log_type,
        );
    }

    /// Listed with the worker, whose sweep finds it when nothing has moved for too long. None: nobody asks.
    fn watch(&self, ending: &Ending) -> Option<Rc<Watch>> {
        let limits = Limits {
            idle: self.tcp.idle_timeout,
            ..Limits::default()
        };
        if limits.idle.is_none() && self.tcp.log_options.every.is_none() {
            return None;
        }
        let watch = Rc::new(Watch::new(self.start.1, limits));
        ending.streams.add(&watch);
        Some(watch)
    }

    fn scratch(&self) -> Scratch {
        let scratch = self.worker.scratch.at_most(self.downstream.buffer_limit);
        scratch.at_most(self.connected.cluster.buffer_limit)
    }

    fn lifetime(&self) -> Lifetime {
        let longest = self.tcp.longest(self.worker.random.next());
        Lifetime {
            idle: None,
            most: longest.map(|most| Box::new((most, Duration::ZERO))),
            patient: true,
            upstream: match self.connected.cluster.closes_unwell {
                true => self.connected.host.health().cloned(),
                false => None,
            },
            guard: Some(Rc::new(guard::Chain::new(&self.worker, &self.downstream))),
            shown: self.downstream.record.tls.clone(),
            upstream_shown: self.connected.connection.handshake().cloned(),
        }
    }

    /// What is known of the connection, with the policy that ends it.
    fn denied(&self) -> Rc<DownstreamRecord> {
        let mut record = Rc::clone(&self.downstream.record);
        if let Some(denial) = guard::denial(&self.worker, &self.downstream) {
            tracing::info!(destination = %self.downstream.destination, %denial, "closed: not allowed any more");
            let notes = record.notes.clone().unwrap_or_default();
            denial.note(&notes);
            Rc::make_mut(&mut record).notes = Some(notes);
        }
        record
    }

    fn end(&self, ended: &Ended, cut_by: Option<&'static str>, record: &DownstreamRecord) {
        if let Why::Downstream(error) | Why::Upstream(error) = &ended.why {
            tracing::debug!(destination = %self.downstream.destination, %error, "connection failed");
        }
        self.connected.count_end(ended);
        let (flags, details) = judge(&ended.why, cut_by);
        let outcome = Outcome {
            reset: matches!(&ended.why, Why::Downstream(error) if error.kind() == std::io::ErrorKind::ConnectionReset),
            received: ended.received,
            sent: ended.sent,
            flags,
            details,
        };
        let connected = Ok(&self.connected);
        report(&self.worker, record, &self.tcp, self.start, connected, &outcome);
    }
}
