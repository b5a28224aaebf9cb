//! The join tokens of a control plane, kept in `tokens.json`.
//!
//! The file `token` beside it holds the one token that is also kept as plain
//! text: the local one, which processes of the same user on the same machine find
//! through the rendezvous file. Its mode is the whole of its protection.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::state::{self, StateError};
use crate::token::{self, Binding, StoredToken, TokenClaims, TokenError, TokenText};

const TOKENS: &str = "tokens.json";
const LOCAL: &str = "token";
/// An expired token is remembered this long, so that its bearer is told why.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// All tokens of one state directory. One writer: the control plane.
#[derive(Debug)]
pub struct TokenStore {
    directory: PathBuf,
    tokens: Vec<StoredToken>,
}

/// What a new token is to allow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenGrant {
    pub binding: Binding,
    /// Never, when absent.
    pub expires: Option<SystemTime>,
    pub reusable: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TokenStoreError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the token list cannot be read ({detail}) — {} — restore it, or remove it: then only the local token is valid", .path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error("the system gave no random numbers — join token — check /dev/urandom")]
    Random,
    #[error(transparent)]
    Token(#[from] TokenError),
}

// === impl TokenStore ===

impl TokenStore {
    /// Reads the tokens of a state directory; none when there are none.
    pub fn open(directory: &Path) -> Result<TokenStore, TokenStoreError> {
        state::ensure_directory(directory)?;
        let path = directory.join(TOKENS);
        let tokens = match state::read(&path)? {
            Some(content) => serde_json::from_slice(&content).map_err(|error| TokenStoreError::Corrupt {
                path,
                detail: error.to_string(),
            })?,
            None => Vec::new(),
        };
        Ok(TokenStore {
            directory: directory.to_owned(),
            tokens,
        })
    }

    /// Where the local token is found as plain text.
    pub fn local_path(&self) -> PathBuf {
        self.directory.join(LOCAL)
    }

    /// The local token: made at the first start, kept at every other. One that is
    /// in its file but not in the list (the list was lost) is taken up again.
    pub fn local(&mut self, now: SystemTime) -> Result<String, TokenStoreError> {
        let kept = state::read(&self.local_path())?.and_then(|content| String::from_utf8(content).ok());
        let kept = kept
            .as_deref()
            .map(str::trim)
            .filter(|text| TokenText::parse(text).is_ok());
        let grant = TokenGrant {
            reusable: true,
            ..TokenGrant::default()
        };
        if let Some(text) = kept {
            if !self.verify(text, now).is_ok_and(|claims| claims.operator) {
                self.add_local(text, grant, now)?;
            }
            return Ok(text.to_owned());
        }
        let text = TokenText::generate().ok_or(TokenStoreError::Random)?;
        self.add_local(&text, grant, now)?;
        state::write(&self.local_path(), format!("{text}\n").as_bytes(), state::SECRET)?;
        Ok(text)
    }

    /// Makes a token. Its text is returned here and never again.
    pub fn create(
        &mut self,
        grant: TokenGrant,
        now: SystemTime,
    ) -> Result<(TokenClaims, String), TokenStoreError> {
        let text = TokenText::generate().ok_or(TokenStoreError::Random)?;
        let claims = self.add(&text, grant, now)?;
        Ok((claims, text))
    }

    /// Whether the token is valid now. Does not use it up.
    pub fn verify(&self, text: &str, now: SystemTime) -> Result<TokenClaims, TokenError> {
        self.find(text)?.check(now)
    }

    /// As [`verify`](Self::verify), and uses up a token that is for one use. That
    /// it is used is on the disk before this returns.
    pub fn redeem(&mut self, text: &str, now: SystemTime) -> Result<TokenClaims, TokenStoreError> {
        let claims = self.find(text)?.check(now)?;
        if !claims.reusable {
            let mut next = self.tokens.clone();
            for token in next.iter_mut().filter(|token| token.id == claims.id) {
                token.used = true;
            }
            self.replace(next)?;
        }
        Ok(claims)
    }

    /// Forgets a token. Says whether there was one.
    pub fn revoke(&mut self, id: &str) -> Result<bool, TokenStoreError> {
        let next: Vec<_> = self
            .tokens
            .iter()
            .filter(|token| token.id != id)
            .cloned()
            .collect();
        let found = next.len() != self.tokens.len();
        if found {
            self.replace(next)?;
        }
        Ok(found)
    }

    /// Every token that is known, valid or not.
    pub fn list(&self) -> impl Iterator<Item = TokenClaims> {
        self.tokens.iter().map(StoredToken::claims)
    }

    fn find(&self, text: &str) -> Result<&StoredToken, TokenError> {
        let text = TokenText::parse(text)?;
        let index = token::find(&self.tokens, &text).ok_or(TokenError::Unknown)?;
        self.tokens.get(index).ok_or(TokenError::Unknown)
    }

    fn add(
        &mut self,
        text: &str,
        grant: TokenGrant,
        now: SystemTime,
    ) -> Result<TokenClaims, TokenStoreError> {
        let text = TokenText::parse(text)?;
        self.store(
            StoredToken::new(&text, grant.binding, grant.expires, grant.reusable),
            now,
        )
    }

    /// The operator's, in place of one that is not.
    fn add_local(
        &mut self,
        text: &str,
        grant: TokenGrant,
        now: SystemTime,
    ) -> Result<TokenClaims, TokenStoreError> {
        let text = TokenText::parse(text)?;
        let mut token = StoredToken::new(&text, grant.binding, grant.expires, grant.reusable);
        token.operator = true;
        self.store(token, now)
    }

    fn store(&mut self, token: StoredToken, now: SystemTime) -> Result<TokenClaims, TokenStoreError> {
        let claims = token.claims();
        let long_ago = now.checked_sub(REMEMBERED).unwrap_or(SystemTime::UNIX_EPOCH);
        let kept = |other: &&StoredToken| other.id != token.id && other.expired_at(long_ago).is_none();
        let mut next: Vec<_> = self.tokens.iter().filter(kept).cloned().collect();
        next.push(token);
        self.replace(next)?;
        Ok(claims)
    }

    /// Writes first: a token is valid in memory only if it is on the disk.
    fn replace(&mut self, next: Vec<StoredToken>) -> Result<(), TokenStoreError> {
        let path = self.directory.join(TOKENS);
        let content = serde_json::to_vec_pretty(&next).map_err(|error| TokenStoreError::Corrupt {
            path: path.clone(),
            detail: error.to_string(),
        })?;
        state::write(&path, &content, state::SECRET)?;
        self.tokens = next;
        Ok(())
    }
}
