//! What the data plane costs as it is shipped: system calls a request, memory an idle connection. Counted, not timed.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use leno_testkit::{Process, eventually};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use crate::support::LENO;

/// System calls a request: on one connection, and on 32 at once.
const CALLS_ALONE: f64 = 6.1;
const CALLS_TOGETHER: f64 = 5.1;
/// Bytes of memory, of a build without optimisation, whose futures are larger than those of a release.
const HTTP_CONNECTION: usize = 8 * 1024;
const TCP_CONNECTION: usize = 5 * 1024;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An address that nobody else is given meanwhile: it was in use a moment ago.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// An upstream that holds every connection and counts them; if it `answers`, then whatever it is asked.
fn upstream(answers: bool) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Relaxed);
            if answers {
                let mut stream = stream.try_clone().unwrap();
                thread::spawn(move || {
                    let mut buffer = [0; 4096];
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                        stream.write_all(ANSWER).unwrap();
                    }
                });
            }
            held.push(stream);
        }
    });
    (address, accepted)
}

fn bootstrap(listener: SocketAddr, upstream: SocketAddr, filter: &str) -> String {
    let socket = |address: SocketAddr| {
        let (ip, port) = (address.ip(), address.port());
        format!("{{socket_address: {{address: {ip}, port_value: {port}}}}}")
    };
    let (listener, upstream) = (socket(listener), socket(upstream));
    format!(
        "static_resources:
  listeners:
  - name: in
    address: {listener}
    filter_chains:
    - filters:
      - name: filter
        typed_config: {{{filter}}}
  clusters:
  - name: out
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: 100000, max_pending_requests: 100000}}]}}
    load_assignment:
      cluster_name: out
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {upstream}}}}}]}}]
"
    )
}

const HTTP: &str = r#"
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
          stat_prefix: in,
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: out}}]}]},
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]"#;

const TCP: &str = r#"
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy,
          stat_prefix: in, cluster: out"#;

/// `leno proxy` with one worker, behind the words of `launcher`.
struct Running {
    process: Process,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Running {
    fn start(launcher: &[&str], upstream: SocketAddr, filter: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bootstrap.yaml");
        let address = free_address();
        fs::write(&file, bootstrap(address, upstream, filter)).unwrap();
        let mut words = launcher.iter().copied().chain([LENO]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(["proxy", "--concurrency", "1", "-c"])
            .arg(&file);
        let process = Process::spawn(command);
        eventually("the proxy listens", || TcpStream::connect(address));
        Self {
            process,
            address,
            _directory: directory,
        }
    }
}

fn read_answer(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
}

/// Two reads, two writes and two waits are what a request takes that is alone.
#[test]
fn a_request_takes_few_system_calls() {
    assert_system_calls("a_request_takes_few_system_calls", 1, CALLS_ALONE);
}

#[test]
fn requests_side_by_side_share_their_waits() {
    assert_system_calls("requests_side_by_side_share_their_waits", 32, CALLS_TOGETHER);
}

fn assert_system_calls(test: &str, connections: usize, ceiling: f64) {
    const REQUESTS: u32 = 1024;
    if !leno_testkit::has_program("strace") {
        return leno_testkit::skip(test, "no strace");
    }
    let (upstream, _) = upstream(true);
    // The difference of two runs is what the requests of the longer one cost.
    let few = system_calls(upstream, connections, 128);
    let many = system_calls(upstream, connections, 128 + REQUESTS);
    let each = f64::from(many - few) / f64::from(REQUESTS);
    assert!(each <= ceiling, "{each} system calls a request");
}

/// Of a proxy that serves so many requests, from its start to its end.
fn system_calls(upstream: SocketAddr, connections: usize, requests: u32) -> u32 {
    let directory = tempfile::tempdir().unwrap();
    let summary = directory.path().join("summary");
    let launcher = ["strace", "-f", "-c", "-o", summary.to_str().unwrap()];
    let mut running = Running::start(&launcher, upstream, HTTP);
    let mut streams: Vec<TcpStream> = (0..connections)
        .map(|_| TcpStream::connect(running.address).unwrap())
        .collect();
    for _ in 0..requests as usize / connections {
        for stream in &mut streams {
            stream.write_all(REQUEST).unwrap();
        }
        streams.iter_mut().for_each(read_answer);
    }
    // strace passes no signal on.
    let strace = running.process.pid();
    let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let leno = children.split_whitespace().next().unwrap().parse().ok();
    kill_process(leno.and_then(Pid::from_raw).unwrap(), Signal::TERM).unwrap();
    running.process.wait();
    let summary = fs::read_to_string(&summary).unwrap();
    let total = summary.lines().find(|line| line.ends_with(" total")).unwrap();
    // `% time  seconds  usecs/call  calls  errors  syscall`
    total.split_whitespace().nth(3).unwrap().parse().unwrap()
}

/// One after the other: both need nearly all the descriptors that this process may have.
#[test]
fn ten_thousand_idle_connections_cost_little() {
    let (http, _) = upstream(true);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(REQUEST).unwrap();
        read_answer(stream);
    };
    let each = idle_connections(http, HTTP, 1, ask, |_| ());
    assert!(each <= HTTP_CONNECTION, "{each} bytes a connection of HTTP");

    let (tcp, accepted) = upstream(false);
    let all_there = |number| {
        eventually("the upstream is connected", || {
            let connected = accepted.load(Relaxed);
            if connected >= number {
                Ok(())
            } else {
                Err(connected)
            }
        });
    };
    let each = idle_connections(tcp, TCP, 2, |_| (), all_there);
    assert!(each <= TCP_CONNECTION, "{each} bytes a connection of TCP");
}

/// Bytes of memory that each takes once it is open. `ends`: how many of a connection's are in this process. The proxy
/// starts with a soft limit of files that is far too low, and has to see to that itself.
fn idle_connections(
    upstream: SocketAddr,
    filter: &str,
    ends: u64,
    use_it: impl Fn(&mut TcpStream),
    wait_for: impl Fn(usize),
) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
    let number = maximum.map_or(10_000, |most| (most.saturating_sub(1000) / ends).min(10_000)) as usize;
    assert!(
        number >= 1500,
        "the hard limit of open files is too low to tell: {maximum:?}"
    );
    let running = Running::start(
        &["sh", "-c", "ulimit -Sn 256; exec \"$@\"", "sh"],
        upstream,
        filter,
    );
    let mut held = Vec::new();
    let mut hold = |until: usize| {
        while held.len() < until {
            let mut stream = TcpStream::connect(running.address).unwrap();
            use_it(&mut stream);
            held.push(stream);
            // Fewer at once than an accept queue holds.
            if held.len().is_multiple_of(100) {
                wait_for(held.len());
            }
        }
        resident(running.process.pid())
    };
    // What the first ones take is not theirs alone.
    let few = hold(500);
    let many = hold(number);
    many.saturating_sub(few) / (number - 500)
}

/// `VmRSS`, bytes.
fn resident(pid: u32) -> usize {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}
