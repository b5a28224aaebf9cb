//! What stands in cases for backends' addresses, which differ from run to run: `<a>` is that of `a`, `<base64 a>` the same in
//! base64, `<session a>` in a session's cookie, `<named a>` the same with the name `localhost`; `<sha256 client>` the hash of the client's certificate, `<escaped client>` and
//! `<json client>` that certificate; `,<own>` the
//! machine's own address behind another in a list. In headers of requests, and
//! in what is told.

use super::backend::Backends;

const KNOWN: [&str; 5] = ["a", "b", "c", "d", "tls-a"];

/// Each with what it stands for.
pub(crate) struct Words(Vec<(String, String)>);

impl Words {
    pub(crate) fn of(backends: &Backends) -> Self {
        let each = KNOWN.into_iter().flat_map(|name| {
            let address = backends.address(name).to_string();
            let length = u8::try_from(address.len()).unwrap();
            let session = [&[0x0a, length], address.as_bytes()].concat();
            [
                (format!("<session {name}>"), base64(&session)),
                (format!("<base64 {name}>"), base64(address.as_bytes())),
                (
                    format!("<named {name}>"),
                    address.replace("127.0.0.1", "localhost"),
                ),
                (format!("<{name}>"), address),
            ]
        });
        let pki = &backends.pki;
        let pem = pki.pem("client.crt");
        let escapes = [
            ("\n", "%0A"),
            ("/", "%2F"),
            ("+", "%2B"),
            ("=", "%3D"),
            (" ", "%20"),
        ];
        let escaped = escapes.iter();
        let escaped = escaped.fold(pem.to_owned(), |pem, (plain, escaped)| {
            pem.replace(plain, escaped)
        });
        let client = [
            ("<sha256 client>".to_owned(), pki.hashes("client").0.clone()),
            ("<escaped client>".to_owned(), escaped),
            ("<json client>".to_owned(), pem.replace('\n', r"\\n")),
        ];
        Self(each.chain(own()).chain(client).collect())
    }

    /// What is sent.
    pub(crate) fn said(&self, text: &str) -> String {
        let all = self.0.iter();
        all.fold(text.to_owned(), |text, (word, meaning)| {
            text.replace(word, meaning)
        })
    }

    /// What is told.
    pub(crate) fn told(&self, text: &str) -> String {
        let all = self.0.iter();
        all.fold(text.to_owned(), |text, (word, meaning)| {
            text.replace(meaning, word)
        })
    }
}

/// `<own>`: by what the machine speaks of itself; only at the end of `x-forwarded-for`, where a case cannot say it.
fn own() -> Option<(String, String)> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent. The address is of a network that is nobody's (RFC 5737).
    let own = match socket.connect("198.51.100.1:9") {
        Ok(()) => socket.local_addr().ok()?.ip(),
        Err(_) => std::net::Ipv4Addr::LOCALHOST.into(),
    };
    Some((",<own>".into(), format!(",{own}")))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    const SYMBOLS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        let symbol = |place: usize| match place <= chunk.len() {
            true => char::from(SYMBOLS[(bits >> (18 - 6 * place)) as usize & 63]),
            false => '=',
        };
        (0..4).map(symbol).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
