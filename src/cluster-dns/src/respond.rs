//! A packet in, a packet out: the wire's rules around the zone's answers.

use std::sync::{Arc, PoisonError, RwLock};

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use rand::seq::SliceRandom;

use crate::forward::Forwarder;
use crate::zone::{Answer, Question, Zone, answer};

/// The largest datagram we send, whatever the client accepts: no fragments on any usual path.
const PAYLOAD: u16 = 1232;
/// The size a client without EDNS accepts.
const PLAIN: u16 = 512;
/// How many aliases are followed within the zone.
const ALIASES: usize = 8;

/// How a question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// As a datagram; the answer must fit into one.
    Udp,
    /// On a stream.
    Tcp,
}

/// What to do with a packet.
#[derive(Debug)]
pub enum Step {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask another server first; [`Responder::finish`] does.
    Ask(Box<Pending>),
    /// Say nothing: it was no question.
    Ignore,
}

/// A question that needs another server.
#[derive(Debug)]
pub struct Pending {
    response: Message,
    limit: usize,
    query: Query,
    is_alias: bool,
}

/// Answers packets.
#[derive(Clone)]
pub struct Responder {
    zone: Arc<RwLock<Zone>>,
    forwarder: Forwarder,
}

impl Responder {
    /// A responder for a zone and a forwarder for everything else.
    pub fn new(zone: Arc<RwLock<Zone>>, forwarder: Forwarder) -> Self {
        Self { zone, forwarder }
    }

    /// Answers at once what the zone knows.
    pub fn begin(&self, packet: &[u8], transport: Transport) -> Step {
        let Ok(request) = Message::from_vec(packet) else {
            return malformed(packet);
        };
        if request.metadata.message_type != MessageType::Query {
            return Step::Ignore;
        }
        let limit = limit(&request, transport);
        let mut response = blank(&request);
        if let Some(code) = refusal(&request) {
            return reply(refuse(response, code), limit);
        }
        let query = request.queries[0].clone();
        let found = {
            let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
            follow(&zone, &query, &mut response)
        };
        match found {
            Found::Done => reply(response, limit),
            Found::Elsewhere(query) => {
                let is_alias = !response.answers.is_empty();
                Step::Ask(Box::new(Pending { response, limit, query, is_alias }))
            }
        }
    }

    /// Answers with the help of another server.
    pub async fn finish(&self, pending: Pending) -> Option<Vec<u8>> {
        let Pending { mut response, limit, query, is_alias } = pending;
        match self.forwarder.ask(&query).await {
            Some(found) => {
                response.metadata.response_code = found.metadata.response_code;
                response.metadata.authoritative = is_alias;
                response.add_answers(found.answers.iter().cloned());
                response.add_authorities(found.authorities.iter().cloned());
            }
            None => response.metadata.response_code = ResponseCode::ServFail,
        }
        encode(response, limit)
    }
}

enum Found {
    Done,
    Elsewhere(Query),
}

/// Fills the response from the zone, along aliases that stay in it.
fn follow(zone: &Zone, query: &Query, response: &mut Message) -> Found {
    let (mut name, kind) = (query.name().clone(), query.query_type());
    for _ in 0..ALIASES {
        let code = match answer(zone, Question { name: &name, kind }) {
            Answer::NotOurs => return Found::Elsewhere(Query::query(name, kind)),
            Answer::Alias { record, target } => {
                response.metadata.authoritative = true;
                response.add_answer(record);
                name = target;
                continue;
            }
            Answer::Records { mut answers, additionals } => {
                // Clients take the first address: spread them.
                answers.shuffle(&mut rand::rng());
                response.add_answers(answers);
                response.add_additionals(additionals);
                ResponseCode::NoError
            }
            Answer::NoData => {
                response.add_authority(zone.authority());
                ResponseCode::NoError
            }
            Answer::NoName => {
                response.add_authority(zone.authority());
                ResponseCode::NXDomain
            }
        };
        response.metadata.authoritative = true;
        response.metadata.response_code = code;
        return Found::Done;
    }
    response.metadata.response_code = ResponseCode::ServFail;
    Found::Done
}

fn blank(request: &Message) -> Message {
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        response.set_edns(edns);
    }
    response
}

/// Why a question is not even looked at.
fn refusal(request: &Message) -> Option<ResponseCode> {
    if request.metadata.op_code != OpCode::Query {
        return Some(ResponseCode::NotImp);
    }
    let [query] = request.queries.as_slice() else {
        return Some(ResponseCode::FormErr);
    };
    if request.edns.as_ref().is_some_and(|e| e.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return Some(ResponseCode::Refused);
    }
    None
}

fn refuse(mut response: Message, code: ResponseCode) -> Message {
    if let Some(edns) = &mut response.edns {
        edns.set_rcode_high(code.high());
    }
    response.metadata.response_code = code;
    response
}

/// A packet that is no message gets an error if it at least looks like a question.
fn malformed(packet: &[u8]) -> Step {
    let (Some(id), Some(flags)) = (packet.first_chunk::<2>(), packet.get(2)) else {
        return Step::Ignore;
    };
    if packet.len() < 12 || flags & 0x80 != 0 {
        return Step::Ignore;
    }
    let response = Message::error_msg(u16::from_be_bytes(*id), OpCode::Query, ResponseCode::FormErr);
    reply(response, usize::from(PLAIN))
}

fn limit(request: &Message, transport: Transport) -> usize {
    match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => usize::from(request.max_payload().clamp(PLAIN, PAYLOAD)),
    }
}

fn reply(response: Message, limit: usize) -> Step {
    encode(response, limit).map_or(Step::Ignore, Step::Reply)
}

/// The packet; one that is too large loses its help first, then answers, and says so.
fn encode(mut response: Message, limit: usize) -> Option<Vec<u8>> {
    let mut packet = response.to_vec().ok()?;
    if packet.len() > limit {
        response.additionals.clear();
        packet = response.to_vec().ok()?;
    }
    while packet.len() > limit {
        response.metadata.truncation = true;
        response.authorities.clear();
        let kept: Vec<Record> = std::mem::take(&mut response.answers);
        let fitting = (kept.len() * limit / packet.len()).min(kept.len().saturating_sub(1));
        let is_empty = kept.is_empty();
        response.answers = kept.into_iter().take(fitting).collect();
        packet = response.to_vec().ok()?;
        if is_empty {
            break;
        }
    }
    Some(packet)
}

#[cfg(test)]
mod tests;
