//! The parameters behind a `?`.

use regex::Regex;

use super::answer::Answer;

/// In the order given, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(text: &[u8]) -> Self {
        let pairs = text.split(|b| *b == b'&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| {
            let at = pair.iter().position(|b| *b == b'=');
            let (name, value) = at.map_or((pair, &pair[pair.len()..]), |at| (&pair[..at], &pair[at + 1..]));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// With those in a body, as a form sends them.
    pub(super) fn and(mut self, form: &[u8]) -> Self {
        self.0.extend(Self::parse(form).0);
        self
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.0.iter().cloned()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn regex(&self, name: &str) -> Result<Option<Regex>, Answer> {
        self.compiled(name, str::to_owned)
    }

    /// One that is to match from the beginning to the end.
    pub(super) fn whole_regex(&self, name: &str) -> Result<Option<Regex>, Answer> {
        self.compiled(name, |pattern| format!("^(?:{pattern})$"))
    }

    fn compiled(&self, name: &str, pattern: impl Fn(&str) -> String) -> Result<Option<Regex>, Answer> {
        let Some(given) = self.get(name) else {
            return Ok(None);
        };
        match Regex::new(&pattern(given)) {
            Ok(regex) => Ok(Some(regex)),
            Err(why) => Err(Answer::text(400, format!("invalid regex of {name}: {why}\n"))),
        }
    }
}

fn decode(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                out.push(b' ');
                rest = after;
            }
            (other, _) => {
                out.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(b"filter=%5Ea%2eb+c&usedonly&x=1=2&%zz=%4");
        assert_eq!(query.get("filter"), Some("^a.b c"));
        assert_eq!(query.get("usedonly"), Some(""));
        assert_eq!(query.get("x"), Some("1=2"));
        assert_eq!(query.get("%zz"), Some("%4"));
        assert_eq!(query.get("y"), None);
    }
}
