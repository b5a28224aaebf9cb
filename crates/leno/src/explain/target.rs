//! What is asked about: `http://reviews:9080/path`, `tcp://db:3306`, a method and headers. Pure.

use std::fmt;
use std::net::IpAddr;

use bytes::Bytes;
use leno_engine::message::{Headers, RequestHead, Version};

/// Where a request or a connection is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub scheme: Scheme,
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// Whether the port was said.
    port_said: bool,
    /// With its query; `/` where nothing was said.
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    /// HTTP/2 in plaintext, as gRPC speaks it.
    Grpc,
    /// The application's own TLS.
    Tls,
    /// Anything else.
    Tcp,
}

/// A request of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub headers: Vec<(String, String)>,
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("grpc", rest)) => (Scheme::Grpc, rest),
            Some(("https" | "tls", rest)) => (Scheme::Tls, rest),
            Some(("tcp", rest)) => (Scheme::Tcp, rest),
            Some((other, _)) => {
                return Err(format!(
                    "`{other}://` is not known: http, https, grpc, tls or tcp"
                ));
            }
            None => (Scheme::Tcp, text),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if scheme == Scheme::Tcp && !path.is_empty() {
            return Err(match text.contains("://") {
                true => "a TCP connection has no path: give tcp://HOST:PORT".into(),
                false => format!("a path without a scheme: give http://{text}"),
            });
        }
        if authority.contains('@') {
            return Err("a user in the address is not sent to anybody: leave it out".into());
        }
        let (host, said) = host_and_port(authority)?;
        let port = match (said, scheme) {
            (Some(port), _) => port,
            (None, Scheme::Http) => 80,
            (None, Scheme::Tls) => 443,
            (None, Scheme::Tcp | Scheme::Grpc) => {
                return Err(format!(
                    "no port: give {host}:PORT, or http://{host}/ for port 80"
                ));
            }
        };
        Ok(Self {
            scheme,
            host,
            port,
            port_said: said.is_some(),
            path: self::path(path)?,
        })
    }

    pub fn is_http(&self) -> bool {
        matches!(self.scheme, Scheme::Http | Scheme::Grpc)
    }

    /// As a client writes it into `Host`.
    pub fn authority(&self) -> String {
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(_)) | Err(_) => self.host.clone(),
        };
        match self.port_said && !(self.scheme == Scheme::Http && self.port == 80) {
            true => format!("{host}:{}", self.port),
            false => host,
        }
    }

    /// The request as the application's client sends it.
    pub fn head(&self, asked: &Asked) -> RequestHead {
        let mut headers = Headers::default();
        let mut authority = self.authority();
        let mut upgrade = None;
        for (name, value) in &asked.headers {
            match name.as_str() {
                "host" => authority.clone_from(value),
                "upgrade" => upgrade = Some(Bytes::copy_from_slice(value.as_bytes())),
                _ => headers.append(name, value),
            }
        }
        if self.scheme == Scheme::Grpc && !headers.contains("content-type") {
            headers.append("content-type", "application/grpc");
        }
        RequestHead {
            version: match self.scheme {
                Scheme::Grpc => Version::Http2,
                Scheme::Http | Scheme::Tls | Scheme::Tcp => Version::Http11,
            },
            method: asked.method.clone().into(),
            scheme: "http".into(),
            authority: authority.into(),
            path: self.path.clone().into(),
            headers,
            upgrade,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Http => write!(f, "http://{}{}", self.authority(), self.path),
            Scheme::Grpc => write!(f, "grpc://{}{}", self.authority(), self.path),
            Scheme::Tls => write!(f, "https://{}{}", self.authority(), self.path),
            Scheme::Tcp => write!(f, "tcp://{}", self.authority()),
        }
    }
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']').ok_or("a `[` without its `]`")?;
            if inner.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("`{inner}` is no IPv6 address"));
            }
            match after {
                "" => (inner, None),
                _ => (
                    inner,
                    Some(after.strip_prefix(':').ok_or("after `]` comes `:PORT`")?),
                ),
            }
        }
        None => match authority.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                return Err(format!("an IPv6 address stands in brackets: [{authority}]"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("no host".into());
    }
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    if let Some(bad) = host.chars().find(|c| !u8::try_from(*c).is_ok_and(is_name)) {
        return Err(format!("{bad:?} is not part of a host name"));
    }
    let port = match port {
        None => None,
        Some(text) => {
            let number = text.parse().ok().filter(|port| *port > 0);
            Some(number.ok_or_else(|| format!("`{text}` is no port: give a number from 1 to 65535"))?)
        }
    };
    Ok((host.trim_end_matches('.').to_ascii_lowercase(), port))
}

/// As clients send it: without a fragment, and never empty.
fn path(text: &str) -> Result<String, String> {
    let sent = text.split('#').next().unwrap_or_default();
    if let Some(bad) = sent.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("{bad:?} in the path: escape it with %"));
    }
    Ok(match sent.starts_with('/') {
        true => sent.to_owned(),
        false => format!("/{sent}"),
    })
}

/// `NAME:VALUE`, with or without a space, as curl takes it.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("`{text}` is no header: give NAME:VALUE"))?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("`{name}` is no header name"));
    }
    let value = value.trim();
    if value.chars().any(char::is_control) {
        return Err(format!("a control character in the value of {name}"));
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

/// A method is a token (RFC 9110).
pub fn method(text: &str) -> Result<String, String> {
    match text {
        "CONNECT" => Err("CONNECT makes tunnels, for which there are no routes: give another method".into()),
        "" => Err("no method".into()),
        _ if text
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || b == b'-' || b == b'_') =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!("`{text}` is no method")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match Target::parse(text) {
            Ok(target) => format!(
                "{:?} {} {} {}",
                target.scheme, target.host, target.port, target.path
            ),
            Err(why) => why,
        }
    }

    #[test]
    fn a_target_is_a_url_or_a_host_with_its_port() {
        for (text, wanted) in [
            ("http://reviews:9080/reviews/1", "Http reviews 9080 /reviews/1"),
            ("http://Reviews.shop?x=1#top", "Http reviews.shop 80 /?x=1"),
            ("https://example.com/a", "Tls example.com 443 /a"),
            ("grpc://[::1]:50051/pkg.Svc/Call", "Grpc ::1 50051 /pkg.Svc/Call"),
            ("tcp://db:3306", "Tcp db 3306 /"),
            ("db:3306", "Tcp db 3306 /"),
        ] {
            assert_eq!(parsed(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_target_says_how_to_write_it() {
        for (text, wanted) in [
            (
                "reviews",
                "no port: give reviews:PORT, or http://reviews/ for port 80",
            ),
            (
                "reviews:9080/x",
                "a path without a scheme: give http://reviews:9080/x",
            ),
            (
                "tcp://db:1/x",
                "a TCP connection has no path: give tcp://HOST:PORT",
            ),
            ("ftp://a", "`ftp://` is not known: http, https, grpc, tls or tcp"),
            ("http://:80/", "no host"),
            ("http://a:0/", "`0` is no port: give a number from 1 to 65535"),
            (
                "http://a:http/",
                "`http` is no port: give a number from 1 to 65535",
            ),
            ("http://::1/", "an IPv6 address stands in brackets: [::1]"),
            ("http://[::1/", "a `[` without its `]`"),
            ("http://[::1]x/", "after `]` comes `:PORT`"),
            ("http://a b/", "' ' is not part of a host name"),
            ("http://a/ü", "'ü' in the path: escape it with %"),
            (
                "http://u:p@a/",
                "a user in the address is not sent to anybody: leave it out",
            ),
        ] {
            assert_eq!(parsed(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_host_header_is_the_authority_and_default_ports_are_left_out() {
        let target = Target::parse("http://reviews:80/a").unwrap();
        let asked = Asked {
            method: "GET".into(),
            headers: vec![header("X-Team: a").unwrap()],
        };
        let head = target.head(&asked);
        assert_eq!(head.authority.as_ref(), b"reviews");
        assert_eq!(head.headers.get("x-team"), Some(&b"a"[..]));
        let asked = Asked {
            headers: vec![header("Host:shop.example").unwrap()],
            ..asked
        };
        assert_eq!(target.head(&asked).authority.as_ref(), b"shop.example");
    }

    #[test]
    fn headers_and_methods_are_held_to_http() {
        assert!(header("end-user").is_err() && header("a b:c").is_err() && header("a:b\u{1}").is_err());
        assert!(method("GET").is_ok() && method("").is_err() && method("G T").is_err());
        assert!(method("CONNECT").is_err());
    }
}
