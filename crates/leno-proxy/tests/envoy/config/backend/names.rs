//! The backend `names`: a DNS server that answers by the first word of what it is asked for, over UDP and TCP, and remembers
//! the questions.
//!
//! `WORD.CASE.test`, where WORD is `v4`, `v6` or `both`; `alias` of `v4`; `big`, which does not fit into UDP; `gone`; `never`;
//! `late`, for whose first two questions the server fails; `moves`, which is where nobody listens at first, for a second.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use leno_testkit::free_address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

const HERE: RData = RData::A(A(Ipv4Addr::LOCALHOST));
/// Where no backend listens.
const NOBODY: RData = RData::A(A(Ipv4Addr::new(127, 0, 0, 99)));

#[derive(Default)]
pub(crate) struct Asked {
    by_case: Mutex<BTreeMap<String, BTreeSet<String>>>,
    times: Mutex<BTreeMap<String, usize>>,
}

// === impl Asked ===

impl Asked {
    /// The different questions of a case.
    pub(crate) fn of(&self, case: &str) -> Vec<String> {
        let all = self.by_case.lock().unwrap();
        all.get(case).into_iter().flatten().cloned().collect()
    }

    fn answer(&self, query: &[u8], transport: &str) -> Option<Vec<u8>> {
        let mut message = Message::from_vec(query).ok()?;
        let question = message.queries.first()?.clone();
        let (name, kind) = (question.name().clone(), question.query_type());
        let text = name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let mut words = text.split('.');
        let (word, case) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut all = self.by_case.lock().unwrap();
        all.entry(case.clone())
            .or_default()
            .insert(format!("{kind} {text} over {transport}"));
        drop(all);
        let mut times = self.times.lock().unwrap();
        let time = times.entry(format!("{kind} {text}")).or_default();
        *time += 1;
        message.metadata.message_type = MessageType::Response;
        message.metadata.recursion_available = true;
        message.edns = None;
        let v4 = kind == RecordType::A;
        let record = |ttl, data| Record::from_rdata(name.clone(), ttl, data);
        let here = record(300, HERE);
        match (word.as_str(), v4) {
            ("never", _) => return None,
            ("v4", true) | ("both", true) => message.answers.push(here),
            ("v6" | "both", false) => {
                message
                    .answers
                    .push(record(300, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))));
            }
            ("alias", true) => {
                let behind = Name::from_ascii(format!("v4.{case}.test.")).ok()?;
                message
                    .answers
                    .push(record(300, RData::CNAME(CNAME(behind.clone()))));
                message.answers.push(Record::from_rdata(behind, 300, HERE));
            }
            ("big", true) if transport == "UDP" => message.metadata.truncation = true,
            ("big", true) => message.answers.push(here),
            ("late", true) if *time < 3 => message.metadata.response_code = ResponseCode::ServFail,
            ("late", true) => message.answers.push(here),
            ("moves", true) if *time < 2 => message.answers.push(record(1, NOBODY)),
            ("moves", true) => message.answers.push(here),
            ("v4" | "v6" | "alias" | "big" | "late" | "moves", _) => {}
            _ => message.metadata.response_code = ResponseCode::NXDomain,
        }
        message.to_vec().ok()
    }
}

/// One port for both.
pub(super) async fn start(asked: &Arc<Asked>) -> SocketAddr {
    let address = free_address();
    let listener = TcpListener::bind(address).await.unwrap();
    let socket = UdpSocket::bind(address).await.unwrap();
    let told = Arc::clone(asked);
    tokio::spawn(async move {
        let mut query = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            if let Some(answer) = told.answer(&query[..length], "UDP") {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    });
    let told = Arc::clone(asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut query = vec![0; length.into()];
                    if stream.read_exact(&mut query).await.is_err() {
                        return;
                    }
                    let answer = told.answer(&query, "TCP").unwrap_or_default();
                    let length = u16::try_from(answer.len()).unwrap();
                    let _ = stream
                        .write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())
                        .await;
                }
            });
        }
    });
    address
}
