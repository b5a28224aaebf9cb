//! An issuer of JSON Web Tokens, honest and otherwise, and the server of its keys.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use serde_json::{Value, json};

/// Signs by an RSA key that nobody else has.
#[derive(Debug)]
pub struct Issuer {
    pair: KeyPair,
    kid: String,
}

/// What a server of keys does with whoever asks.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 200, and this.
    Body(String),
    Status(u16),
    /// It says nothing, for as long as the asker waits.
    Silence,
}

/// Serves a set of keys on loopback, as long as it lives.
#[derive(Debug)]
pub struct KeyServer {
    pub address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

// === impl Issuer ===

impl Issuer {
    #[must_use]
    pub fn new(kid: &str) -> Self {
        Self {
            pair: KeyPair::generate(KeySize::Rsa2048).expect("a key"),
            kid: kid.to_owned(),
        }
    }

    /// Its public key, as a JSON Web Key.
    pub fn key(&self) -> Value {
        let public = self.pair.public_key();
        let (n, e) = (public.modulus(), public.exponent());
        json!({
            "kty": "RSA",
            "kid": self.kid,
            "use": "sig",
            "n": base64(n.big_endian_without_leading_zero()),
            "e": base64(e.big_endian_without_leading_zero()),
        })
    }

    /// The JSON Web Key Set of its key alone.
    pub fn key_set(&self) -> String {
        json!({ "keys": [self.key()] }).to_string()
    }

    pub fn token(&self, claims: &Value) -> String {
        let signed = self.unsigned("RS256", claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature)
            .expect("a signature");
        format!("{signed}.{}", base64(&signature))
    }

    /// Header and claims, and no signature worth the name.
    pub fn none(&self, claims: &Value) -> String {
        format!("{}.{}", self.unsigned("none", claims), base64(b"signature"))
    }

    /// Signed by what everybody knows, as if it were a secret: the oldest trick against verifiers.
    pub fn by_public_key(&self, claims: &Value) -> Vec<String> {
        let public = self.pair.public_key();
        let der = public.as_ref().to_vec();
        let modulus = public.modulus();
        let raw = modulus.big_endian_without_leading_zero().to_vec();
        let written = base64(&raw).into_bytes();
        let secrets = [der, raw, written];
        let signed = self.unsigned("HS256", claims);
        let sign = |secret: &Vec<u8>| {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            format!("{signed}.{}", base64(tag.as_ref()))
        };
        secrets.iter().map(sign).collect()
    }

    fn unsigned(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "kid": self.kid, "typ": "JWT"});
        format!(
            "{}.{}",
            base64(header.to_string().as_bytes()),
            base64(claims.to_string().as_bytes())
        )
    }
}

// === impl KeyServer ===

impl KeyServer {
    #[must_use]
    pub fn start(answer: Answer) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer)
    }

    #[must_use]
    pub fn start_at(address: SocketAddr, answer: Answer) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let mut server = Self {
            address: listener.local_addr().expect("its address"),
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
            over: Arc::default(),
            thread: None,
        };
        let (answer, asked, over) = (server.answer.clone(), server.asked.clone(), server.over.clone());
        let serve = move || {
            // Whoever is not answered waits here.
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept() {
                if over.load(SeqCst) {
                    break;
                }
                asked.fetch_add(1, SeqCst);
                let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match answer {
                    Answer::Silence => silent.push(stream),
                    Answer::Body(body) => respond(&mut stream, 200, &body),
                    Answer::Status(status) => respond(&mut stream, status, ""),
                }
            }
        };
        server.thread = Some(std::thread::spawn(serve));
        server
    }

    pub fn set(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// How often.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn respond(stream: &mut TcpStream, status: u16, body: &str) {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => request.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            _ => return,
        }
    }
    let length = body.len();
    let head = format!("HTTP/1.1 {status} It\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// RFC 4648 §5, without padding.
fn base64(bytes: impl AsRef<[u8]>) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.as_ref().chunks(3) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            let at = (bits >> (18 - 6 * digit)) & 63;
            text.push(char::from(DIGITS[at as usize]));
        }
    }
    text
}
