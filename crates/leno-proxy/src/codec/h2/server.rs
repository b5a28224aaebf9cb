//! HTTP/2 from a client.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use leno_http2::{Connection, Key, Options};
use leno_telemetry::stats::Meter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::unconstrained;

use super::body::{Receiving, Sending};
use super::head::{self, Received};
use super::keepalive::watch;
use super::link::{Heads, Link, Wire};
use super::tasks::Tasks;
use super::{options, unsent, unwritten};
use crate::codec::date::Date;
use crate::codec::{Counter, Refusal, Request, Response, ServerLimits, Service};
use crate::ending::Ending;
use crate::outcome::StreamError;
use crate::tcp::Scratch;

/// Turns of one poll, before other connections have theirs.
const TURNS: usize = 4;

/// Serves a connection until it ends. `secure`: it came by TLS.
pub(crate) async fn serve<IO, S>(
    io: IO,
    secure: bool,
    limits: &ServerLimits,
    scratch: Scratch,
    service: Rc<S>,
    (ending, meter): (Rc<Ending>, Meter),
) -> Result<(), StreamError>
where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service,
{
    let options = options(
        limits.max_streams,
        (limits.stream_window, limits.connection_window),
        limits.max_header_bytes,
        limits.max_headers,
    );
    let counts_wire = limits.counts_wire;
    let options = Options {
        extended_connect: limits.extended_connect,
        ..options
    };
    let link = Link::new(Connection::server(options), unwritten(limits.buffer_limit));
    let date = Rc::new(Date::default());
    let failing = Rc::clone(&service);
    let begin = |link: &Rc<Link>, key, head: Option<Box<Received>>| {
        let stream = Exchange {
            receiving: Receiving::request(Rc::clone(link), key),
            sending: Sending::new(Rc::clone(link), key),
            date: Rc::clone(&date),
            counter: Counter::new(counts_wire),
        };
        link.count_in(key, &stream.counter);
        unconstrained(stream.run(head, secure, Rc::clone(&service)))
    };
    let mut server = Server {
        wire: Wire::new(io, scratch, meter),
        link: Rc::clone(&link),
        requests: Requests {
            tasks: Tasks::new(),
            reset: Vec::new(),
            ending: Rc::clone(&ending),
            begin,
        },
        began: Instant::now(),
    };
    let mut closing = false;
    let keepalive = limits.keepalive;
    let mut watching = keepalive.map(|keepalive| Box::pin(watch(Rc::clone(&link), keepalive)));
    let ended = loop {
        let serving = poll_fn(|cx| {
            if let Some(watching) = &mut watching
                && watching.as_mut().poll(cx).is_ready()
            {
                return Poll::Ready(Err(StreamError::TimedOut));
            }
            server.poll(cx)
        });
        if closing {
            tokio::select! {
                biased;
                ended = serving => break ended,
                () = ending.close_now() => break Ok(()),
            }
        }
        tokio::select! {
            biased;
            ended = serving => break ended,
            () = ending.leave() => {
                closing = true;
                link.with(Connection::shut_down);
            }
        }
    };
    server.wire.note_end(&link);
    // Those that are not answered will not be.
    drop(server.requests);
    link.close(&StreamError::Closed);
    let time = limits.delayed_close.unwrap_or(FINISH);
    let finished = tokio::time::timeout(time, server.wire.finish(&link)).await;
    if finished.is_err() {
        failing.ended_late();
    }
    ended.and(finished.map_err(|_| StreamError::TimedOut))
}

/// RFC 9113 §10.5.1.
const TOO_LARGE: Refusal = Refusal {
    status: 431,
    details: "http2.too_many_headers",
    body: "",
    malformed: false,
};

/// For the last words of a connection, where nothing is said of it.
const FINISH: Duration = Duration::from_secs(1);

struct Server<IO, F, B> {
    wire: Wire<IO>,
    link: Rc<Link>,
    requests: Requests<F, B>,
    began: Instant,
}

struct Requests<F, B> {
    tasks: Tasks<F>,
    /// Places of streams that the client gave up.
    reset: Vec<usize>,
    ending: Rc<Ending>,
    /// None: the head is too large.
    begin: B,
}

impl<IO, F, B> Server<IO, F, B>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
    B: Fn(&Rc<Link>, Key, Option<Box<Received>>) -> F,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        self.link.awake(cx);
        self.requests.tasks.awake(cx);
        for _ in 0..TURNS {
            match self.turn(cx) {
                Ok(true) => {}
                Ok(false) => {
                    self.link.sleep();
                    if self.requests.tasks.sleep() {
                        return Poll::Pending;
                    }
                    self.link.awake(cx);
                    self.requests.tasks.awake(cx);
                }
                Err(error) => return Poll::Ready(error.map_or(Ok(()), Err)),
            }
        }
        self.link.sleep();
        self.requests.tasks.sleep();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, lets the requests go on, writes. True: there may be more to do. Err: the connection's end, good or bad.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<bool, Option<StreamError>> {
        let now = self.began.elapsed().as_secs();
        let read = self.wire.read(&self.link, &mut self.requests, now, cx);
        self.requests.drop_reset();
        let read = match read {
            // The client's way to say that it needs nothing more.
            Err(StreamError::Closed) if self.link.with(|machine| machine.is_empty()) => return Err(None),
            read => read.map_err(Some)?,
        };
        let polled = self.requests.tasks.poll();
        let wrote = self.wire.write(&self.link, cx).map_err(Some)?;
        if self
            .link
            .with(|machine| machine.is_over() && machine.unwritten() == 0)
        {
            return Err(None);
        }
        Ok(read || polled || wrote)
    }
}

impl<F, B> Requests<F, B>
where
    F: Future<Output = ()>,
{
    /// A reset by the client drops its request, which records it. Not while the worker's buffer is lent.
    fn drop_reset(&mut self) {
        if self.reset.is_empty() {
            return;
        }
        self.ending.given_up.set(true);
        for place in std::mem::take(&mut self.reset) {
            self.tasks.cancel(place);
        }
        self.ending.given_up.set(false);
    }
}

impl<F, B> Heads for Requests<F, B>
where
    F: Future<Output = ()>,
    B: Fn(&Rc<Link>, Key, Option<Box<Received>>) -> F,
{
    fn head(&mut self, link: &Rc<Link>, key: Key, head: Box<Received>, end: bool) {
        link.with(|machine| {
            if let Some(stream) = machine.stream(key) {
                stream.ended = end;
            }
        });
        let request = (self.begin)(link, key, Some(head));
        self.tasks.insert(key.slot(), request);
    }

    fn too_large(&mut self, link: &Rc<Link>, key: Key) {
        let refusal = (self.begin)(link, key, None);
        self.tasks.insert(key.slot(), refusal);
    }

    fn reset(&mut self, key: Key) {
        self.reset.push(key.slot());
    }
}

/// One request and its answer.
struct Exchange {
    receiving: Receiving,
    sending: Sending,
    date: Rc<Date>,
    counter: Counter,
}

impl Exchange {
    /// `head`: None if it is too large.
    async fn run<S: Service>(self, head: Option<Box<Received>>, secure: bool, service: Rc<S>) {
        let Self {
            receiving,
            sending,
            date,
            counter,
        } = self;
        let response = match head {
            Some(head) => {
                let body = receiving.into_body(head.length);
                if head.expects_continue && !body.is_end() {
                    go_on(&sending);
                }
                let head = head.request(secure);
                service.call(Request { head, body, counter }).await
            }
            None => service.refuse(&TOO_LARGE, counter),
        };
        if service.draining() {
            sending.say(|machine, _| machine.shut_down());
        }
        if let Err(error) = respond(response, sending, &date).await {
            tracing::debug!(%error, "response not sent to its end");
        }
    }
}

/// As Envoy, the proxy answers `Expect: 100-continue` by itself; what it forwards expects nothing.
fn go_on(sending: &Sending) {
    let sent = sending.say(|machine, key| machine.interim(key, |fields| head::write_status(100, fields)));
    if let Err(error) = sent {
        tracing::debug!(%error, "100 Continue not sent");
    }
}

async fn respond(response: Response, sending: Sending, date: &Date) -> Result<(), StreamError> {
    let Response { head, mut body, .. } = response;
    let end = body.is_end();
    let sent = date.with(|date| {
        sending
            .say(|machine, key| machine.respond(key, end, |fields| head::write_response(&head, date, fields)))
    });
    if let Err(error) = sent.map_err(unsent) {
        sending.give_up(&error);
        return Err(error);
    }
    sending.count();
    if !end {
        return sending.send(body).await;
    }
    sending.end();
    // The end is known without polling; whoever counts frames still has to see it.
    let _ = body.frame().await;
    Ok(())
}
