//! Fingerprints of a ClientHello: JA3 (<https://github.com/salesforce/ja3>) and JA4 (<https://github.com/FoxIO-LLC/ja4>),
//! as Envoy makes them: values that clients strew in at random (GREASE, RFC 8701) are left out, but of the groups.

use aws_lc_rs::digest::{SHA256, digest};

use crate::sniff::{Reader, hello_of};

const SERVER_NAME: u16 = 0;
const GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// What fingerprints are made of.
#[derive(Debug, Default)]
struct Hello {
    version: u16,
    ciphers: Vec<u16>,
    /// In their order.
    extensions: Vec<u16>,
    groups: Vec<u16>,
    formats: Vec<u8>,
    signatures: Vec<u16>,
    /// The first that is offered.
    protocol: Vec<u8>,
    /// The highest that is offered.
    newest: Option<u16>,
}

/// Both of what [`crate::peek`] takes for TLS, as far as they are wanted: in hexadecimal, and in JA4's own form.
pub fn fingerprints(prefix: &[u8], ja3: bool, ja4: bool) -> (Option<String>, Option<String>) {
    let Some(hello) = hello_of(prefix).and_then(|body| Hello::read(&body)) else {
        return (None, None);
    };
    (ja3.then(|| hello.ja3()), ja4.then(|| hello.ja4()))
}

impl Hello {
    fn read(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let version = reader.u16()?;
        reader.take(32)?;
        reader.vector8()?;
        let mut hello = Self {
            version,
            ciphers: numbers(reader.vector16()?),
            ..Self::default()
        };
        reader.vector8()?;
        if reader.is_empty() {
            return Some(hello);
        }
        let mut extensions = reader.vector16()?;
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let mut content = extensions.vector16()?;
            if is_grease(kind) {
                continue;
            }
            hello.extensions.push(kind);
            match kind {
                GROUPS => hello.groups = all(content.vector16()?),
                POINT_FORMATS => hello.formats = content.vector8()?.rest().to_vec(),
                SIGNATURE_ALGORITHMS => hello.signatures = numbers(content.vector16()?),
                ALPN => hello.protocol = content.vector16()?.vector8()?.rest().to_vec(),
                SUPPORTED_VERSIONS => hello.newest = numbers(content.vector8()?).into_iter().max(),
                _ => {}
            }
        }
        Some(hello)
    }

    fn ja3(&self) -> String {
        let dashed = |values: &mut dyn Iterator<Item = u16>| {
            let texts: Vec<String> = values.map(|value| value.to_string()).collect();
            texts.join("-")
        };
        let text = [
            self.version.to_string(),
            dashed(&mut self.ciphers.iter().copied()),
            dashed(&mut self.extensions.iter().copied()),
            dashed(&mut self.groups.iter().copied()),
            dashed(&mut self.formats.iter().map(|format| u16::from(*format))),
        ]
        .join(",");
        hexadecimal(&md5::compute(text).0)
    }

    fn ja4(&self) -> String {
        let version = match self.newest.unwrap_or(self.version) {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            _ => "00",
        };
        let name = match self.extensions.contains(&SERVER_NAME) {
            true => 'd',
            false => 'i',
        };
        let mut ciphers = self.ciphers.clone();
        ciphers.sort_unstable();
        let mut extensions = self.extensions.clone();
        extensions.retain(|kind| ![SERVER_NAME, ALPN].contains(kind));
        extensions.sort_unstable();
        let mut rest = listed(&extensions);
        if !self.signatures.is_empty() {
            rest = format!("{rest}_{}", listed(&self.signatures));
        }
        format!(
            "t{version}{name}{:02}{:02}{}_{}_{}",
            self.ciphers.len().min(99),
            self.extensions.len().min(99),
            ends(&self.protocol),
            short(&listed(&ciphers)),
            short(&rest)
        )
    }
}

/// The first and the last character of a protocol's name, or of its hexadecimal form where they are not of a name.
fn ends(protocol: &[u8]) -> String {
    match protocol {
        [] => "00".to_owned(),
        [first, .., last] if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() => {
            [char::from(*first), char::from(*last)].iter().collect()
        }
        other => {
            let text = hexadecimal(other);
            text.chars().take(1).chain(text.chars().last()).collect()
        }
    }
}

fn listed(values: &[u16]) -> String {
    let texts: Vec<String> = values.iter().map(|value| format!("{value:04x}")).collect();
    texts.join(",")
}

/// The beginning of a hash; of nothing it is zeros.
fn short(text: &str) -> String {
    match text {
        "" => "000000000000".to_owned(),
        text => hexadecimal(
            digest(&SHA256, text.as_bytes())
                .as_ref()
                .get(..6)
                .unwrap_or_default(),
        ),
    }
}

fn numbers(list: Reader<'_>) -> Vec<u16> {
    let mut numbers = all(list);
    numbers.retain(|number| !is_grease(*number));
    numbers
}

fn all(mut list: Reader<'_>) -> Vec<u16> {
    std::iter::from_fn(|| list.u16()).collect()
}

fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
