//! The rules of the wire.

use std::net::IpAddr;

use hickory_proto::rr::Name;
use proptest::prelude::*;

use super::*;
use crate::records::{Backend, Target};

fn responder() -> Responder {
    let mut zone = Zone::new(&Name::from_ascii("cluster.local.").unwrap());
    let backend = |i: u8| Backend { label: format!("pod-{i}"), ip: IpAddr::from([10, 244, 0, i]), ports: Vec::new() };
    zone.set(("shop".to_owned(), "many".to_owned()), Some(Target::Headless((1..=200).map(backend).collect())));
    zone.set(("shop".to_owned(), "out".to_owned()), Some(Target::External("many.shop.svc.cluster.local".to_owned())));
    zone.set(
        ("shop".to_owned(), "round".to_owned()),
        Some(Target::External("round.shop.svc.cluster.local".to_owned())),
    );
    Responder::new(Arc::new(RwLock::new(zone)), Forwarder::new(Vec::new()))
}

fn question(name: &str, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::new(9, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    change(&mut message);
    message.to_vec().unwrap()
}

fn reply_to(packet: &[u8], transport: Transport) -> (Message, usize) {
    match responder().begin(packet, transport) {
        Step::Reply(packet) => (Message::from_vec(&packet).unwrap(), packet.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_does_not_fit_says_so_and_gives_what_it_can() {
    let plain = question("many.shop.svc.cluster.local.", |_| ());
    let (answer, size) = reply_to(&plain, Transport::Udp);
    assert!(answer.metadata.truncation && size <= 512 && answer.answers.len() > 10, "{size}");
    let (answer, _) = reply_to(&plain, Transport::Tcp);
    assert!(!answer.metadata.truncation);
    assert_eq!(answer.answers.len(), 200);
}

#[test]
fn a_client_with_edns_gets_larger_answers_and_edns_back() {
    let packet = question("many.shop.svc.cluster.local.", |m| {
        let mut edns = Edns::new();
        edns.set_max_payload(4096);
        m.set_edns(edns);
    });
    let (answer, size) = reply_to(&packet, Transport::Udp);
    assert!(size > 512 && size <= 1232, "{size}");
    assert!(answer.edns.is_some());
}

#[test]
fn what_is_no_plain_question_is_refused() {
    let name = "many.shop.svc.cluster.local.";
    for (packet, code) in [
        (question(name, |m| m.queries.clear()), ResponseCode::FormErr),
        (
            question(name, |m| {
                m.queries[0].set_query_class(DNSClass::CH);
            }),
            ResponseCode::Refused,
        ),
        (
            question(name, |m| {
                m.queries[0].set_query_type(RecordType::AXFR);
            }),
            ResponseCode::Refused,
        ),
        (question(name, |m| m.metadata.op_code = OpCode::Status), ResponseCode::NotImp),
        (vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff], ResponseCode::FormErr),
    ] {
        assert_eq!(reply_to(&packet, Transport::Udp).0.metadata.response_code, code);
    }
}

#[test]
fn absence_comes_with_the_authority_that_says_so() {
    let (answer, _) = reply_to(&question("none.shop.svc.cluster.local.", |_| ()), Transport::Udp);
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    assert!(answer.metadata.authoritative);
    assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
}

#[test]
fn an_alias_within_the_zone_is_followed_but_not_for_ever() {
    let (answer, _) = reply_to(&question("out.shop.svc.cluster.local.", |_| ()), Transport::Tcp);
    assert_eq!(answer.answers.len(), 201);
    assert_eq!(answer.answers[0].record_type(), RecordType::CNAME);
    let (answer, _) = reply_to(&question("round.shop.svc.cluster.local.", |_| ()), Transport::Tcp);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn answers_are_not_answered() {
    let packet = question("a.", |m| m.metadata.message_type = MessageType::Response);
    assert!(matches!(responder().begin(&packet, Transport::Udp), Step::Ignore));
    assert!(matches!(responder().begin(b"short", Transport::Udp), Step::Ignore));
}

proptest! {
    #[test]
    fn no_packet_stops_the_server(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = responder().begin(&packet, Transport::Udp);
    }

    #[test]
    fn no_damaged_question_stops_the_server(at in 0usize..60, byte in any::<u8>(), cut in 0usize..60) {
        let mut packet = question("_http._tcp.many.shop.svc.cluster.local.", |m| {
            m.set_edns(Edns::new());
        });
        let at = at % packet.len();
        packet[at] = byte;
        packet.truncate(packet.len() - cut % packet.len());
        let _ = responder().begin(&packet, Transport::Udp);
    }
}
