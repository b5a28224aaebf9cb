//! The other side: what a proxy asks a resolver of the names that it sends to, and what the answer says.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

/// Aliases that are followed within an answer.
const MAX_ALIASES: usize = 16;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub id: u16,
    /// Whole: with a dot at its end or without.
    pub name: String,
    pub ipv6: bool,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// With the shortest time in seconds for which they hold; none where the name has none of this kind.
    Addresses(Vec<IpAddr>, u32),
    NoSuchName,
    /// There is more than fits: the question is to be asked over TCP.
    Truncated,
    /// The server cannot or does not want to say.
    Failed,
}

// === impl Question ===

impl Question {
    /// None: no name that could be asked for. `payload`: bytes of an answer over UDP.
    pub fn bytes(&self, payload: u16) -> Option<Vec<u8>> {
        let mut name = Name::from_ascii(&self.name).ok()?;
        name.set_fqdn(true);
        let mut message = Message::new(self.id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.queries.push(Query::query(name, self.kind()));
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.edns = Some(edns);
        message.to_vec().ok()
    }

    fn kind(&self) -> RecordType {
        match self.ipv6 {
            true => RecordType::AAAA,
            false => RecordType::A,
        }
    }

    /// None: it answers something else. Any bytes may be given.
    pub fn read(&self, answer: &[u8]) -> Option<Reply> {
        let message = Message::from_vec(answer).ok()?;
        let is_answer = message.metadata.message_type == MessageType::Response;
        let [asked] = message.queries.as_slice() else {
            return None;
        };
        let mut name = Name::from_ascii(&self.name).ok()?;
        name.set_fqdn(true);
        if !is_answer
            || message.metadata.id != self.id
            || *asked.name() != name
            || asked.query_type() != self.kind()
        {
            return None;
        }
        if message.metadata.truncation {
            return Some(Reply::Truncated);
        }
        Some(match message.metadata.response_code {
            ResponseCode::NoError => self.addresses(&message, name),
            ResponseCode::NXDomain => Reply::NoSuchName,
            _ => Reply::Failed,
        })
    }

    /// Of the name, or of what it is another name for.
    fn addresses(&self, message: &Message, mut name: Name) -> Reply {
        let mut least = u32::MAX;
        for _ in 0..MAX_ALIASES {
            let own = || message.answers.iter().filter(|record| record.name == name);
            let alias = own().find_map(|record| match &record.data {
                RData::CNAME(to) => Some((to.0.clone(), record.ttl)),
                _ => None,
            });
            if let Some((to, ttl)) = alias {
                least = least.min(ttl);
                name = to;
                continue;
            }
            let mut found = Vec::new();
            for record in own() {
                let address = match (&record.data, self.ipv6) {
                    (RData::A(address), false) => IpAddr::V4(address.0),
                    (RData::AAAA(address), true) => IpAddr::V6(address.0),
                    _ => continue,
                };
                least = least.min(record.ttl);
                found.push(address);
            }
            return Reply::Addresses(found, least);
        }
        Reply::Failed
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    fn question() -> Question {
        Question {
            id: 7,
            name: "One.example".to_owned(),
            ipv6: false,
        }
    }

    fn answer(to: &Question, records: Vec<Record>) -> Message {
        let mut message = Message::from_vec(&to.bytes(1232).unwrap()).unwrap();
        message.metadata.message_type = MessageType::Response;
        message.answers = records;
        message
    }

    fn record(name: &str, ttl: u32, data: RData) -> Record {
        Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, data)
    }

    #[test]
    fn addresses_are_found_behind_aliases() {
        let alias = RData::CNAME(CNAME(Name::from_ascii("two.example.").unwrap()));
        let records = vec![
            record("two.example.", 30, RData::A(A::new(10, 0, 0, 1))),
            record("one.example.", 9, alias),
            record("other.example.", 1, RData::A(A::new(10, 0, 0, 2))),
        ];
        let bytes = answer(&question(), records).to_vec().unwrap();
        let found = Reply::Addresses(vec![IpAddr::from([10, 0, 0, 1])], 9);
        assert_eq!(question().read(&bytes), Some(found));
    }

    #[test]
    fn what_answers_another_question_is_no_answer() {
        let mut other = answer(&question(), Vec::new());
        other.metadata.id = 8;
        assert_eq!(question().read(&other.to_vec().unwrap()), None);
        let asked = question().bytes(1232).unwrap();
        assert_eq!(question().read(&asked), None);
        let mut cut = answer(&question(), Vec::new());
        cut.metadata.truncation = true;
        assert_eq!(question().read(&cut.to_vec().unwrap()), Some(Reply::Truncated));
    }
}
