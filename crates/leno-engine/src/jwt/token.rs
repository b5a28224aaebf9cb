//! A JSON Web Token (RFC 7519) in its compact form, taken apart but not yet verified.

use serde_json::{Map, Value};

use super::failure::Failure;
use crate::message::base64;

/// Longer tokens are not looked at.
pub const MOST_TOKEN: usize = 32 * 1024;

/// How a token says that it is signed. `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

#[derive(Debug)]
pub struct Token<'t> {
    pub algorithm: Algorithm,
    pub kid: Option<String>,
    pub header: Map<String, Value>,
    pub claims: Map<String, Value>,
    pub issuer: String,
    pub subject: String,
    pub audiences: Vec<String>,
    /// Seconds since 1970.
    pub not_before: Option<u64>,
    pub expires: Option<u64>,
    /// The middle part as it came.
    pub payload: &'t str,
    /// What is signed: header and payload as they came.
    pub signed: &'t str,
    pub signature: Vec<u8>,
}

// === impl Algorithm ===

impl Algorithm {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" => Self::EdDsa,
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            _ => return None,
        })
    }
}

// === impl Token ===

impl<'t> Token<'t> {
    pub fn parse(text: &'t [u8]) -> Result<Self, Failure> {
        if text.len() > MOST_TOKEN {
            return Err(Failure::BadFormat);
        }
        let text = std::str::from_utf8(text).map_err(|_| Failure::BadFormat)?;
        let mut parts = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Failure::BadFormat);
        };
        if header.is_empty() || payload.is_empty() || signature.is_empty() {
            return Err(Failure::BadFormat);
        }
        let signed = text.get(..header.len() + 1 + payload.len()).unwrap_or_default();
        let header = object(header, Failure::HeaderBadBase64, Failure::HeaderBadJson)?;
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(Failure::HeaderBadAlg);
        };
        let algorithm = Algorithm::parse(algorithm).ok_or(Failure::AlgNotSupported)?;
        let kid = string(&header, "kid", Failure::HeaderBadKid)?.filter(|kid| !kid.is_empty());
        let kid = kid.map(str::to_owned);
        let claims = object(payload, Failure::PayloadBadBase64, Failure::PayloadBadJson)?;
        let issuer = string(&claims, "iss", Failure::IssNotString)?.unwrap_or_default();
        let subject = string(&claims, "sub", Failure::SubNotString)?.unwrap_or_default();
        time(&claims, "iat", Failure::IatNotInteger, Failure::IatOutOfRange)?;
        let not_before = time(&claims, "nbf", Failure::NbfNotInteger, Failure::NbfOutOfRange)?;
        let expires = time(&claims, "exp", Failure::ExpNotInteger, Failure::ExpOutOfRange)?;
        string(&claims, "jti", Failure::JtiNotString)?;
        let audiences = audiences(claims.get("aud"))?;
        Ok(Self {
            algorithm,
            kid,
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audiences,
            not_before,
            expires,
            payload,
            signed,
            signature: base64::decode_url(signature.as_bytes()).ok_or(Failure::SignatureBadBase64)?,
            header,
            claims,
        })
    }

    /// `now` and `skew` in seconds.
    pub fn check_times(&self, now: u64, skew: u64) -> Result<(), Failure> {
        if self
            .not_before
            .is_some_and(|from| now.saturating_add(skew) < from)
        {
            return Err(Failure::NotYetValid);
        }
        if self.expires.is_some_and(|end| now > end.saturating_add(skew)) {
            return Err(Failure::Expired);
        }
        Ok(())
    }
}

fn object(part: &str, bad_base64: Failure, bad_json: Failure) -> Result<Map<String, Value>, Failure> {
    let bytes = base64::decode_url(part.as_bytes()).ok_or(bad_base64)?;
    serde_json::from_slice(&bytes).map_err(|_| bad_json)
}

fn string<'m>(
    object: &'m Map<String, Value>,
    name: &str,
    otherwise: Failure,
) -> Result<Option<&'m str>, Failure> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(otherwise),
    }
}

/// Fractions of a second are left out.
fn time(
    claims: &Map<String, Value>,
    name: &str,
    not_integer: Failure,
    out_of_range: Failure,
) -> Result<Option<u64>, Failure> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let time = number.as_f64().ok_or(not_integer)?;
            if time < 0.0 || time >= u64::MAX as f64 {
                return Err(out_of_range);
            }
            Ok(Some(time as u64))
        }
        Some(_) => Err(not_integer),
    }
}

fn audiences(claim: Option<&Value>) -> Result<Vec<String>, Failure> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(all)) => all
            .iter()
            .map(|one| one.as_str().map(str::to_owned).ok_or(Failure::AudNotString))
            .collect(),
        Some(_) => Err(Failure::AudNotString),
    }
}
