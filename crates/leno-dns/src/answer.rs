//! From a query's bytes to its answer.

use hickory_proto::op::{Edns, Header, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::table::{Addresses, Found, NameTable};

/// Seconds. Addresses of services stay; those behind headless ones change as workloads come and go.
const TTL: u32 = 30;
/// Seconds. A service that is asked for too early should be found soon after it has come.
const NEGATIVE_TTL: u32 = 5;
/// What DNS Flag Day 2020 found to pass everywhere without fragments.
const OUR_PAYLOAD: u16 = 1232;
/// Without EDNS (RFC 1035).
const MIN_PAYLOAD: u16 = 512;
const MAX_TCP: usize = 65_535;

/// How the query came: over UDP, an answer has little room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What to do with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Ours: these bytes are the answer.
    Reply(Vec<u8>),
    /// Not ours: the resolver's, as it came.
    Forward,
    /// Not a query at all.
    Drop,
}

impl NameTable {
    /// Decides a message from a workload. Any bytes may be given.
    pub fn answer(&self, message: &[u8], transport: Transport) -> Answer {
        let mut decoder = BinDecoder::new(message);
        let Ok(header) = Header::read(&mut decoder) else {
            return Answer::Drop;
        };
        if header.metadata.message_type == MessageType::Response {
            // Never answered: two proxies could answer each other for ever.
            return Answer::Drop;
        }
        if header.metadata.op_code != OpCode::Query {
            return Answer::Forward;
        }
        // RFC 9619: exactly one question.
        let question = if header.counts.queries == 1 {
            Query::read(&mut decoder).ok()
        } else {
            None
        };
        let Some(question) = question else {
            return reply(
                refusal(&header.metadata, None, ResponseCode::FormErr),
                room(transport, None),
            );
        };
        let name = question
            .name()
            .to_ascii()
            .trim_end_matches('.')
            .to_ascii_lowercase();
        let found = self.find(&name);
        if found == Found::NotOurs {
            return Answer::Forward;
        }
        // What the rest of it says matters for our own answers only.
        let Ok(query) = Message::from_vec(message) else {
            return reply(
                refusal(&header.metadata, Some(question), ResponseCode::FormErr),
                room(transport, None),
            );
        };
        let response = self.response(&query, question, &name, found);
        reply(response, room(transport, query.edns.as_ref()))
    }

    fn response(&self, query: &Message, question: Query, name: &str, found: Found<'_>) -> Message {
        let mut response = refusal(&query.metadata, Some(question.clone()), ResponseCode::NoError);
        response.metadata.authoritative = true;
        if let Some(edns) = &query.edns {
            response.edns = Some(our_edns(edns));
            if edns.version() > 0 {
                response.metadata.response_code = ResponseCode::BADVERS;
                return response;
            }
        }
        match found {
            Found::Host(addresses) => {
                response.answers = records(&question, addresses, query.metadata.id);
            }
            Found::Empty | Found::NotOurs => {}
            Found::Absent => response.metadata.response_code = ResponseCode::NXDomain,
            Found::Unknown => response.metadata.response_code = ResponseCode::ServFail,
        }
        let negative = matches!(
            response.metadata.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain
        );
        if response.answers.is_empty() && negative {
            response.authorities.extend(self.authority(name, &question));
        }
        response
    }

    /// RFC 2308: without an SOA record a negative answer may not be cached, and its TTL is not known.
    fn authority(&self, name: &str, question: &Query) -> Option<Record> {
        let zone = match self.zone_of(name) {
            Some(zone) => Name::from_ascii(format!("{zone}.")).ok()?,
            None => question.name().clone(),
        };
        let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86_400, NEGATIVE_TTL);
        Some(Record::from_rdata(zone, NEGATIVE_TTL, RData::SOA(soa)))
    }
}

/// The answer for a query that no resolver answered; `None` for what is not a query.
pub fn server_failure(message: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    if header.metadata.message_type == MessageType::Response {
        return None;
    }
    let question = if header.counts.queries == 1 {
        Query::read(&mut decoder).ok()
    } else {
        None
    };
    let mut response = refusal(&header.metadata, question, ResponseCode::ServFail);
    let edns = Message::from_vec(message).ok().and_then(|query| query.edns);
    response.edns = edns.as_ref().map(our_edns);
    response.to_vec().ok()
}

/// A response without records, to the query with this header.
fn refusal(query: &Metadata, question: Option<Query>, code: ResponseCode) -> Message {
    let mut response = Message::new(query.id, MessageType::Response, query.op_code);
    response.metadata = Metadata::response_from_request(query);
    // A stub resolver would pass over a server that does not recurse; we do, through the resolver behind us.
    response.metadata.recursion_available = true;
    response.metadata.response_code = code;
    response.queries.extend(question);
    response
}

/// RFC 6891: a query with EDNS gets a response with EDNS, of the version that we have.
fn our_edns(query: &Edns) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(OUR_PAYLOAD);
    edns.set_version(0);
    edns.set_dnssec_ok(query.flags().dnssec_ok);
    edns
}

/// The addresses of the type asked for; none for any other type.
fn records(question: &Query, addresses: &Addresses, id: u16) -> Vec<Record> {
    let (v4, v6) = match question.query_type() {
        RecordType::A => (true, false),
        RecordType::AAAA => (false, true),
        RecordType::ANY => (true, true),
        _ => (false, false),
    };
    let v4 = addresses.v4.iter().filter(|_| v4).map(|ip| RData::A(A(*ip)));
    let v6 = addresses
        .v6
        .iter()
        .filter(|_| v6)
        .map(|ip| RData::AAAA(AAAA(*ip)));
    let mut records: Vec<Record> = v4
        .chain(v6)
        .map(|data| Record::from_rdata(question.name().clone(), TTL, data))
        .collect();
    // Many clients take the first: the id, which the client draws, spreads them over a headless service.
    if !records.is_empty() {
        let first = usize::from(id) % records.len();
        records.rotate_left(first);
    }
    records
}

/// How long the answer to a query may be.
fn room(transport: Transport, edns: Option<&Edns>) -> usize {
    match transport {
        Transport::Tcp => MAX_TCP,
        Transport::Udp => edns
            .map_or(MIN_PAYLOAD, |edns| edns.max_payload().max(MIN_PAYLOAD))
            .into(),
    }
}

/// Encodes a response into the room that there is; what is left out is told by the TC flag.
fn reply(mut response: Message, room: usize) -> Answer {
    loop {
        match response.to_vec() {
            Ok(bytes) if bytes.len() <= room => return Answer::Reply(bytes),
            // Too long for the room, or for a DNS message.
            _ if !response.answers.is_empty() => {
                response.metadata.truncation = true;
                response.answers.truncate(response.answers.len() / 2);
            }
            _ => return Answer::Drop,
        }
    }
}
