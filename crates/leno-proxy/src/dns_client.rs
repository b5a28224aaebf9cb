//! Names asked of DNS servers that a configuration says, or of the machine's: with answers that tell for how long they hold.
//!
//! Each query has a socket of its own, and so a port that nobody can guess (RFC 5452).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use leno_dns::{Question, Reply};
use leno_engine::compile::dns_resolver::Servers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::random::Random;

const PORT: u16 = 53;
const MAX_MESSAGE: usize = 65_535;

/// What a machine's own files say of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Machine {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
    /// With so many dots a name is first asked for as it is.
    dots: usize,
}

/// Addresses of a name, and for how long they hold, where that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ttl: Option<Duration>,
}

/// One kind of address; the others are asked for by the caller.
pub(crate) async fn look_up(name: &str, ipv6: bool, servers: &Servers) -> io::Result<Found> {
    if let Ok(address) = name.parse::<IpAddr>() {
        let addresses = if address.is_ipv6() == ipv6 {
            vec![address]
        } else {
            Vec::new()
        };
        return Ok(Found { addresses, ttl: None });
    }
    if let Some(addresses) = local(name, ipv6) {
        return Ok(Found { addresses, ttl: None });
    }
    let mut machine = Machine::read(Path::new("/etc/resolv.conf"));
    if !servers.addresses.is_empty() && (!servers.as_fallback || machine.servers.is_empty()) {
        machine.servers.clone_from(&servers.addresses);
    }
    if machine.servers.is_empty() {
        machine.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for name in machine.candidates(name, servers.whole_names) {
        match ask_all(&name, ipv6, &machine.servers, servers).await {
            Ok(Some(found)) if !found.addresses.is_empty() => return Ok(found),
            // It is there, and has no such address.
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// None: there is no such name.
async fn ask_all(name: &str, ipv6: bool, all: &[SocketAddr], servers: &Servers) -> io::Result<Option<Found>> {
    let first = match servers.rotate {
        true => Random::default().next() as usize % all.len().max(1),
        false => 0,
    };
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    for round in 0..servers.tries {
        // As c-ares: each round is more patient.
        let patience = servers.timeout.saturating_mul(1 << round.min(4));
        for turn in 0..all.len() {
            let Some(server) = all.get((first + turn) % all.len()) else {
                continue;
            };
            let asking = ask(name, ipv6, *server, servers);
            match tokio::time::timeout(patience, asking).await {
                Ok(Ok(Reply::Addresses(addresses, ttl))) => {
                    let ttl = (!addresses.is_empty()).then(|| Duration::from_secs(ttl.into()));
                    return Ok(Some(Found { addresses, ttl }));
                }
                Ok(Ok(Reply::NoSuchName)) => return Ok(None),
                Ok(Ok(Reply::Failed | Reply::Truncated)) => last = io::Error::other("the server fails"),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
    }
    Err(last)
}

async fn ask(name: &str, ipv6: bool, server: SocketAddr, servers: &Servers) -> io::Result<Reply> {
    let question = Question {
        id: Random::default().next() as u16,
        name: name.to_owned(),
        ipv6,
    };
    let bytes = question
        .bytes(servers.payload)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a name"))?;
    if !servers.tcp {
        match over_udp(&question, &bytes, server).await? {
            Reply::Truncated => {}
            reply => return Ok(reply),
        }
    }
    over_tcp(&question, &bytes, server).await
}

async fn over_udp(question: &Question, bytes: &[u8], server: SocketAddr) -> io::Result<Reply> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut answer = vec![0; MAX_MESSAGE];
    loop {
        let length = socket.recv(&mut answer).await?;
        // What answers something else is somebody else's guess.
        if let Some(reply) = answer.get(..length).and_then(|answer| question.read(answer)) {
            return Ok(reply);
        }
    }
}

async fn over_tcp(question: &Question, bytes: &[u8], server: SocketAddr) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    let reply = question.read(&answer);
    reply.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer"))
}

/// What needs no server: the machine's own file, and `localhost` (RFC 6761 §6.3).
fn local(name: &str, ipv6: bool) -> Option<Vec<IpAddr>> {
    let wanted = name.trim_end_matches('.').to_ascii_lowercase();
    let text = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let found = hosts(&text, &wanted, ipv6);
    if !found.is_empty() {
        return Some(found);
    }
    let is_localhost = wanted == "localhost" || wanted.ends_with(".localhost");
    is_localhost.then(|| match ipv6 {
        true => vec![Ipv6Addr::LOCALHOST.into()],
        false => vec![Ipv4Addr::LOCALHOST.into()],
    })
}

fn hosts(text: &str, wanted: &str, ipv6: bool) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    let found = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        let named = words.any(|name| name.eq_ignore_ascii_case(wanted));
        (named && address.is_ipv6() == ipv6).then_some(address)
    });
    found.collect()
}

/// Whether there is a way to addresses of this family.
pub(crate) fn is_routable(ipv6: bool) -> bool {
    // Addresses for documentation: nothing is sent to them.
    let (from, to): (IpAddr, IpAddr) = match ipv6 {
        true => (
            Ipv6Addr::UNSPECIFIED.into(),
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
        ),
        false => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
    };
    std::net::UdpSocket::bind((from, 0)).is_ok_and(|socket| socket.connect((to, PORT)).is_ok())
}

// === impl Machine ===

impl Machine {
    fn read(path: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(path).unwrap_or_default())
    }

    /// resolv.conf(5)
    fn parse(text: &str) -> Self {
        let mut machine = Self {
            dots: 1,
            ..Self::default()
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    machine.servers.extend(server.map(|ip| SocketAddr::new(ip, PORT)));
                }
                Some("search" | "domain") => machine.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let mut dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    machine.dots = dots.next().unwrap_or(machine.dots).min(15);
                }
                _ => {}
            }
        }
        machine
    }

    /// What is asked for, in turn.
    fn candidates(&self, name: &str, whole: bool) -> Vec<String> {
        if whole || name.ends_with('.') || self.search.is_empty() {
            return vec![name.to_owned()];
        }
        let searched = self.search.iter();
        let mut all: Vec<String> = searched
            .map(|domain| format!("{name}.{}", domain.trim_end_matches('.')))
            .collect();
        match name.matches('.').count() >= self.dots {
            true => all.insert(0, name.to_owned()),
            false => all.push(name.to_owned()),
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_file_says_who_is_asked_and_for_what() {
        let text = "# x\nnameserver 10.0.0.1\nnameserver ::1\nsearch a.example b.example.\noptions timeout:1 ndots:2\n";
        let machine = Machine::parse(text);
        assert_eq!(
            machine.servers,
            ["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]
        );
        assert_eq!(
            machine.candidates("x.y", false),
            ["x.y.a.example", "x.y.b.example", "x.y"]
        );
        assert_eq!(
            machine.candidates("x.y.z", false),
            ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]
        );
        assert_eq!(machine.candidates("x.y", true), ["x.y"]);
        assert_eq!(machine.candidates("x.", false), ["x."]);
    }

    #[test]
    fn the_machines_hosts_are_by_family() {
        let text = "127.0.0.1 localhost\n10.0.0.1\tone One.Example # two\n::5 one\n";
        assert_eq!(
            hosts(text, "one.example", false),
            ["10.0.0.1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(hosts(text, "one", true), ["::5".parse::<IpAddr>().unwrap()]);
        assert!(hosts(text, "two", false).is_empty());
    }
}
