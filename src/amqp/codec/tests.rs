//! Every method in both directions, against the crate `amq-protocol` as an oracle.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::{
    AMQPClass, access, basic, channel, confirm, connection, exchange, queue, tx,
};
use amq_protocol::types::{AMQPValue, FieldTable, LongString, ShortString};
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};

use crate::amqp::error::{Fault, ReplyCode};
use crate::model::field_table::{FieldTable as Table, TableError};

use super::basic::{Cancel, Consume, Get, PublishHead, Qos, Settle};
use super::content::{Content, Deliver, GetOk, Return};
use super::exchange::{ExchangeBind, ExchangeDeclare, ExchangeDelete};
use super::frame::{FrameKind, frame};
use super::handshake::{Close, Secret, StartOk, TuneOk, UpdateSecret};
use super::header::ContentHeader;
use super::method::{
    self, ARGUMENTS_AT, ChannelMethod, ClientMethod, ConnectionMethod, Method, MethodFault,
};
use super::method_id::MethodId;
use super::queue::{QueueBind, QueueDeclare, QueueDelete, QueuePurge};
use super::reply::{Reply, put_ack, put_close};
use super::wire::WireError;

/// A table with one long string, as the oracle holds it and as it lies on the wire.
const TABLE_BYTES: &[u8] = b"\x01kS\x00\x00\x00\x02ab";

fn raw_table() -> Table<'static> {
    Table::stored(TABLE_BYTES)
}

fn table() -> FieldTable {
    let mut table = FieldTable::default();
    table.insert("k".into(), AMQPValue::LongString("ab".into()));
    table
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap()
}

fn written(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame::<Vec<u8>>(frame)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

/// The payload of the method as the oracle writes it.
fn payload(method: AMQPClass) -> Vec<u8> {
    let bytes = written(&AMQPFrame::Method(7, method));
    let frame = frame(&bytes, bytes.len()).unwrap().unwrap();
    assert_eq!((frame.kind, frame.channel), (FrameKind::Method, 7));
    assert_eq!(frame.total_len, bytes.len());
    frame.payload.to_vec()
}

/// What the oracle writes is read as `ours`; cut short or made longer, it is refused.
fn assert_read(oracle: AMQPClass, ours: ClientMethod<'_>) {
    let mut bytes = payload(oracle);
    let id = method::id(&bytes).unwrap();
    assert!(id.name().is_some());
    assert_eq!(method::read(id, &bytes[ARGUMENTS_AT..]), Ok(ours));
    if let ClientMethod::Work(work) = ours {
        assert_eq!(work.id(), id);
    }
    for end in ARGUMENTS_AT..bytes.len() {
        let error = method::read(id, &bytes[ARGUMENTS_AT..end]).unwrap_err();
        assert_eq!((error.method, error.fault), (id, WireError::Length.into()));
    }
    bytes.push(0);
    let error = method::read(id, &bytes[ARGUMENTS_AT..]).unwrap_err();
    assert_eq!((error.method, error.fault), (id, WireError::Length.into()));
}

/// Names and flags to fill methods with.
fn names() -> impl Strategy<Value = [String; 3]> {
    [".{0,60}", "[a-z.#*]{0,80}", ".{0,20}"]
}

proptest! {
    #[test]
    fn connection_methods_are_read(
        [a, b, c] in names(), secret: Vec<u8>, (x, y, z) in any::<(u16, u32, u16)>(),
    ) {
        use ConnectionMethod as C;
        use connection::AMQPMethod as O;
        let cases = [
            (
                O::StartOk(connection::StartOk {
                    client_properties: table(),
                    mechanism: short(&a),
                    response: LongString::from(secret.clone()),
                    locale: short(&b),
                }),
                C::StartOk(StartOk {
                    client_properties: raw_table(), mechanism: &a, response: Secret(&secret), locale: &b,
                }),
            ),
            (
                O::SecureOk(connection::SecureOk { response: LongString::from(secret.clone()) }),
                C::SecureOk(Secret(&secret)),
            ),
            (
                O::TuneOk(connection::TuneOk { channel_max: x, frame_max: y, heartbeat: z }),
                C::TuneOk(TuneOk { channels_max: x, frame_bytes_max: y, heartbeat_s: z }),
            ),
            (O::Open(connection::Open { virtual_host: short(&c) }), C::Open(&c)),
            (
                O::Close(connection::Close {
                    reply_code: x, reply_text: short(&a), class_id: z, method_id: x,
                }),
                C::Close(Close { code: x, text: &a, method: MethodId { class: z, method: x } }),
            ),
            (O::CloseOk(connection::CloseOk {}), C::CloseOk),
            (
                O::UpdateSecret(connection::UpdateSecret {
                    new_secret: LongString::from(secret.clone()), reason: short(&b),
                }),
                C::UpdateSecret(UpdateSecret { new_secret: Secret(&secret), reason: &b }),
            ),
        ];
        for (oracle, ours) in cases {
            assert_read(AMQPClass::Connection(oracle), ClientMethod::Connection(ours));
        }
    }

    #[test]
    fn exchange_methods_are_read([a, b, c] in names(), flags: [bool; 5]) {
        use exchange::AMQPMethod as O;
        let [passive, durable, auto_delete, internal, no_wait] = flags;
        let ours = ExchangeBind {
            destination: &a, source: &b, routing_key: &c, no_wait, arguments: raw_table(),
        };
        let cases = [
            (
                O::Declare(exchange::Declare {
                    exchange: short(&a), kind: short(&b), passive, durable, auto_delete, internal,
                    nowait: no_wait, arguments: table(),
                }),
                Method::ExchangeDeclare(ExchangeDeclare {
                    exchange: &a, kind: &b, passive, durable, auto_delete, internal, no_wait,
                    arguments: raw_table(),
                }),
            ),
            (
                O::Delete(exchange::Delete {
                    exchange: short(&a), if_unused: passive, nowait: no_wait,
                }),
                Method::ExchangeDelete(ExchangeDelete { exchange: &a, if_unused: passive, no_wait }),
            ),
            (
                O::Bind(exchange::Bind {
                    destination: short(&a), source: short(&b), routing_key: short(&c),
                    nowait: no_wait, arguments: table(),
                }),
                Method::ExchangeBind(ours),
            ),
            (
                O::Unbind(exchange::Unbind {
                    destination: short(&a), source: short(&b), routing_key: short(&c),
                    nowait: no_wait, arguments: table(),
                }),
                Method::ExchangeUnbind(ours),
            ),
        ];
        for (oracle, ours) in cases {
            assert_read(AMQPClass::Exchange(oracle), ClientMethod::Work(ours));
        }
    }

    #[test]
    fn queue_methods_are_read([a, b, c] in names(), flags: [bool; 5]) {
        use queue::AMQPMethod as O;
        let [passive, durable, exclusive, auto_delete, no_wait] = flags;
        let bind =
            QueueBind { queue: &a, exchange: &b, routing_key: &c, no_wait, arguments: raw_table() };
        let cases = [
            (
                O::Declare(queue::Declare {
                    queue: short(&a), passive, durable, exclusive, auto_delete, nowait: no_wait,
                    arguments: table(),
                }),
                Method::QueueDeclare(QueueDeclare {
                    queue: &a, passive, durable, exclusive, auto_delete, no_wait, arguments: raw_table(),
                }),
            ),
            (
                O::Bind(queue::Bind {
                    queue: short(&a), exchange: short(&b), routing_key: short(&c),
                    nowait: no_wait, arguments: table(),
                }),
                Method::QueueBind(bind),
            ),
            (
                O::Unbind(queue::Unbind {
                    queue: short(&a), exchange: short(&b), routing_key: short(&c),
                    arguments: table(),
                }),
                Method::QueueUnbind(QueueBind { no_wait: false, ..bind }),
            ),
            (
                O::Purge(queue::Purge { queue: short(&a), nowait: no_wait }),
                Method::QueuePurge(QueuePurge { queue: &a, no_wait }),
            ),
            (
                O::Delete(queue::Delete {
                    queue: short(&a), if_unused: passive, if_empty: durable, nowait: no_wait,
                }),
                Method::QueueDelete(QueueDelete {
                    queue: &a, if_unused: passive, if_empty: durable, no_wait,
                }),
            ),
        ];
        for (oracle, ours) in cases {
            assert_read(AMQPClass::Queue(oracle), ClientMethod::Work(ours));
        }
    }

    #[test]
    fn basic_methods_are_read(
        [a, b, _] in names(), delivery_tag: u64, prefetch_count: u16, flags: [bool; 4],
    ) {
        use basic::AMQPMethod as O;
        let [no_local, no_ack, exclusive, no_wait] = flags;
        let (multiple, requeue) = (no_local, no_ack);
        let settle = |multiple, requeue| Settle { delivery_tag, multiple, requeue };
        let cases = [
            (
                O::Qos(basic::Qos { prefetch_count, global: multiple }),
                Method::Qos(Qos { prefetch_bytes: 0, prefetch_count, global: multiple }),
            ),
            (
                O::Consume(basic::Consume {
                    queue: short(&a), consumer_tag: short(&b), no_local, no_ack, exclusive,
                    nowait: no_wait, arguments: table(),
                }),
                Method::Consume(Consume {
                    queue: &a, consumer_tag: &b, no_local, no_ack, exclusive, no_wait,
                    arguments: raw_table(),
                }),
            ),
            (
                O::Cancel(basic::Cancel { consumer_tag: short(&a), nowait: no_wait }),
                Method::Cancel(Cancel { consumer_tag: &a, no_wait }),
            ),
            (O::CancelOk(basic::CancelOk { consumer_tag: short(&a) }), Method::CancelOk(&a)),
            (
                O::Get(basic::Get { queue: short(&a), no_ack }),
                Method::Get(Get { queue: &a, no_ack }),
            ),
            (O::Ack(basic::Ack { delivery_tag, multiple }), Method::Ack(settle(multiple, false))),
            (
                O::Reject(basic::Reject { delivery_tag, requeue }),
                Method::Reject(settle(false, requeue)),
            ),
            (
                O::Nack(basic::Nack { delivery_tag, multiple, requeue }),
                Method::Nack(settle(multiple, requeue)),
            ),
            (O::RecoverAsync(basic::RecoverAsync { requeue }), Method::RecoverAsync(requeue)),
            (O::Recover(basic::Recover { requeue }), Method::Recover(requeue)),
        ];
        for (oracle, ours) in cases {
            assert_read(AMQPClass::Basic(oracle), ClientMethod::Work(ours));
        }
        let (mandatory, immediate) = (no_local, no_ack);
        let oracle = basic::Publish {
            exchange: short(&a), routing_key: short(&b), mandatory, immediate,
        };
        let ours = PublishHead { exchange: &a, routing_key: &b, mandatory, immediate };
        assert_read(AMQPClass::Basic(O::Publish(oracle)), ClientMethod::Publish(ours));
    }

    #[test]
    fn headers_are_read(mode: u8, body_size: u64) {
        let properties = basic::AMQPProperties::default().with_delivery_mode(mode);
        let header = AMQPContentHeader { class_id: 60, body_size, properties };
        let bytes = written(&AMQPFrame::Header(9, header));
        let frame = frame(&bytes, bytes.len()).unwrap().unwrap();
        prop_assert_eq!((frame.kind, frame.channel), (FrameKind::Header, 9));
        let header = ContentHeader::read(frame.payload).unwrap();
        prop_assert_eq!((header.is_basic(), header.body_bytes), (true, body_size));
        prop_assert_eq!(header.properties, [0x10, 0, mode]);
    }

    #[test]
    fn any_bytes_as_arguments_end_in_a_method_or_an_error(
        class in 0u16..100, number in 0u16..130, bytes: Vec<u8>,
    ) {
        let id = MethodId { class, method: number };
        if let Err(error) = method::read(id, &bytes) {
            prop_assert_eq!(error.method, id);
            if error.fault == MethodFault::Unknown {
                prop_assert_eq!(id.name(), None);
            }
        }
    }

    /// What the oracle reads back is what was sent, whatever the peer's longest frame.
    #[test]
    fn contents_are_written(
        [a, b, c] in names(), delivery_tag: u64, redelivered: bool, message_count: u32,
        frame_bytes_max in 9u32..200, body: Vec<u8>,
    ) {
        let properties = [0x10, 0x00, 2];
        let content = Content { properties: &properties, body: &body };
        let (mut out, mut expected) = (Vec::new(), Vec::new());

        let deliver = Deliver {
            consumer_tag: &a, delivery_tag, redelivered, exchange: &b, routing_key: &c,
        };
        deliver.put(3, &content, frame_bytes_max, &mut out);
        expected.push(basic::AMQPMethod::Deliver(basic::Deliver {
            consumer_tag: short(&a), delivery_tag, redelivered, exchange: short(&b),
            routing_key: short(&c),
        }));

        let get_ok =
            GetOk { delivery_tag, redelivered, exchange: &b, routing_key: &c, message_count };
        get_ok.put(3, &content, frame_bytes_max, &mut out);
        expected.push(basic::AMQPMethod::GetOk(basic::GetOk {
            delivery_tag, redelivered, exchange: short(&b), routing_key: short(&c), message_count,
        }));

        let returned = Return { code: ReplyCode::NoRoute, exchange: &b, routing_key: &c };
        returned.put(3, &content, frame_bytes_max, &mut out);
        expected.push(basic::AMQPMethod::Return(basic::Return {
            reply_code: 312, reply_text: "NO_ROUTE".into(), exchange: short(&b),
            routing_key: short(&c),
        }));

        let mut rest = &out[..];
        for method in expected {
            let method = AMQPFrame::Method(3, AMQPClass::Basic(method));
            prop_assert_eq!(next(&mut rest), method);
            let AMQPFrame::Header(3, header) = next(&mut rest) else { panic!("no header") };
            prop_assert_eq!(header.body_size, body.len() as u64);
            prop_assert_eq!(*header.properties.delivery_mode(), Some(2));
            let mut seen = Vec::new();
            while seen.len() < body.len() {
                let before = rest.len();
                let AMQPFrame::Body(3, part) = next(&mut rest) else { panic!("no body") };
                assert!(before - rest.len() <= frame_bytes_max as usize && !part.is_empty());
                seen.extend(part);
            }
            prop_assert_eq!(&seen, &body);
        }
        assert!(rest.is_empty());
    }
}

fn next(rest: &mut &[u8]) -> AMQPFrame {
    let (left, frame) = parse_frame(*rest).unwrap();
    *rest = left;
    frame
}

#[test]
fn methods_without_names_are_read() {
    let open = AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}));
    assert_read(open, ClientMethod::Channel(ChannelMethod::Open));
    let close_ok = AMQPClass::Channel(channel::AMQPMethod::CloseOk(channel::CloseOk {}));
    assert_read(close_ok, ClientMethod::Channel(ChannelMethod::CloseOk));
    let close =
        channel::Close { reply_code: 404, reply_text: "why".into(), class_id: 50, method_id: 10 };
    let ours = Close { code: 404, text: "why", method: MethodId::QUEUE_DECLARE };
    assert_read(
        AMQPClass::Channel(channel::AMQPMethod::Close(close)),
        ClientMethod::Channel(ChannelMethod::Close(ours)),
    );
    for active in [true, false] {
        let flow = AMQPClass::Channel(channel::AMQPMethod::Flow(channel::Flow { active }));
        assert_read(flow, ClientMethod::Work(Method::Flow(active)));
        let nowait = active;
        let select = AMQPClass::Confirm(confirm::AMQPMethod::Select(confirm::Select { nowait }));
        assert_read(select, ClientMethod::Work(Method::ConfirmSelect(nowait)));
    }
    let request = access::Request { realm: "/data".into(), ..access::Request::default() };
    assert_read(
        AMQPClass::Access(access::AMQPMethod::Request(request)),
        ClientMethod::Work(Method::AccessRequest),
    );
    for (oracle, ours) in [
        (tx::AMQPMethod::Select(tx::Select {}), Method::TxSelect),
        (tx::AMQPMethod::Commit(tx::Commit {}), Method::TxCommit),
        (tx::AMQPMethod::Rollback(tx::Rollback {}), Method::TxRollback),
    ] {
        assert_read(AMQPClass::Tx(oracle), ClientMethod::Work(ours));
    }
}

#[test]
fn names_must_be_utf8_and_methods_those_of_clients() {
    let not_utf8 = method::read(MethodId::BASIC_CANCEL, b"\x01\xFF\x00").unwrap_err();
    assert_eq!(not_utf8.fault, WireError::NotUtf8.into());
    let table = method::read(MethodId::BASIC_CONSUME, b"\0\0\0\0\0\0\0\0\x02\x05a").unwrap_err();
    assert_eq!(table.fault, MethodFault::Arguments(TableError::Truncated.into()));
    let server_only = method::read(MethodId::QUEUE_DECLARE_OK, b"anything").unwrap_err();
    assert_eq!(server_only.fault, MethodFault::ServerOnly);
    let unknown = MethodId { class: 60, method: 99 };
    assert_eq!(method::read(unknown, b"").unwrap_err().fault, MethodFault::Unknown);
    assert_eq!(method::id(&[0, 60, 0]), None);
}

/// What `reply` becomes is what the oracle reads, and all that it reads.
fn assert_written(reply: Reply<'_>, oracle: AMQPClass) {
    let mut out = Vec::new();
    reply.put(5, &mut out);
    let (rest, frame) = parse_frame(&out[..]).unwrap();
    assert!(rest.is_empty());
    assert_eq!(frame, AMQPFrame::Method(5, oracle));
    // The oracle does not notice what it did not read.
    assert_eq!(out, written(&frame));
}

#[test]
fn replies_of_connections_and_channels_are_written() {
    use channel::AMQPMethod as H;
    use connection::AMQPMethod as C;
    let method = MethodId::QUEUE_BIND;
    let text = "NOT_FOUND - no queue";
    for (reply, oracle) in [
        (
            Reply::Start { server_properties: raw_table(), mechanisms: "PLAIN AMQPLAIN" },
            C::Start(connection::Start {
                version_major: 0,
                version_minor: 9,
                server_properties: table(),
                mechanisms: "PLAIN AMQPLAIN".into(),
                locales: "en_US".into(),
            }),
        ),
        (
            Reply::Secure { challenge: b"x" },
            C::Secure(connection::Secure { challenge: "x".into() }),
        ),
        (
            Reply::Tune { channels_max: 1, frame_bytes_max: 70_000, heartbeat_s: 2 },
            C::Tune(connection::Tune { channel_max: 1, frame_max: 70_000, heartbeat: 2 }),
        ),
        (Reply::OpenOk, C::OpenOk(connection::OpenOk {})),
        (
            Reply::Close { code: 404, text, method },
            C::Close(connection::Close {
                reply_code: 404,
                reply_text: text.into(),
                class_id: 50,
                method_id: 20,
            }),
        ),
        (Reply::CloseOk, C::CloseOk(connection::CloseOk {})),
        (
            Reply::Blocked { reason: "disk" },
            C::Blocked(connection::Blocked { reason: "disk".into() }),
        ),
        (Reply::Unblocked, C::Unblocked(connection::Unblocked {})),
        (Reply::UpdateSecretOk, C::UpdateSecretOk(connection::UpdateSecretOk {})),
    ] {
        assert_written(reply, AMQPClass::Connection(oracle));
    }
    let close =
        channel::Close { reply_code: 404, reply_text: text.into(), class_id: 50, method_id: 20 };
    for (reply, oracle) in [
        (Reply::ChannelOpenOk, H::OpenOk(channel::OpenOk {})),
        (Reply::FlowOk(true), H::FlowOk(channel::FlowOk { active: true })),
        (Reply::ChannelClose { code: 404, text, method }, H::Close(close)),
        (Reply::ChannelCloseOk, H::CloseOk(channel::CloseOk {})),
    ] {
        assert_written(reply, AMQPClass::Channel(oracle));
    }
}

#[test]
fn replies_of_exchanges_and_queues_are_written() {
    use exchange::AMQPMethod as E;
    use queue::AMQPMethod as Q;
    for (reply, oracle) in [
        (Reply::ExchangeDeclareOk, E::DeclareOk(exchange::DeclareOk {})),
        (Reply::ExchangeDeleteOk, E::DeleteOk(exchange::DeleteOk {})),
        (Reply::ExchangeBindOk, E::BindOk(exchange::BindOk {})),
        (Reply::ExchangeUnbindOk, E::UnbindOk(exchange::UnbindOk {})),
    ] {
        assert_written(reply, AMQPClass::Exchange(oracle));
    }
    let declared = queue::DeclareOk { queue: "q".into(), message_count: 70_000, consumer_count: 3 };
    for (reply, oracle) in [
        (
            Reply::QueueDeclareOk { queue: "q", message_count: 70_000, consumer_count: 3 },
            Q::DeclareOk(declared),
        ),
        (Reply::QueueBindOk, Q::BindOk(queue::BindOk {})),
        (Reply::QueueUnbindOk, Q::UnbindOk(queue::UnbindOk {})),
        (Reply::QueuePurgeOk(9), Q::PurgeOk(queue::PurgeOk { message_count: 9 })),
        (Reply::QueueDeleteOk(8), Q::DeleteOk(queue::DeleteOk { message_count: 8 })),
    ] {
        assert_written(reply, AMQPClass::Queue(oracle));
    }
    let granted = access::AMQPMethod::RequestOk(access::RequestOk {});
    assert_written(Reply::AccessRequestOk, AMQPClass::Access(granted));
    let selected = confirm::AMQPMethod::SelectOk(confirm::SelectOk {});
    assert_written(Reply::ConfirmSelectOk, AMQPClass::Confirm(selected));
    for (reply, oracle) in [
        (Reply::TxSelectOk, tx::AMQPMethod::SelectOk(tx::SelectOk {})),
        (Reply::TxCommitOk, tx::AMQPMethod::CommitOk(tx::CommitOk {})),
        (Reply::TxRollbackOk, tx::AMQPMethod::RollbackOk(tx::RollbackOk {})),
    ] {
        assert_written(reply, AMQPClass::Tx(oracle));
    }
}

#[test]
fn replies_of_basic_are_written() {
    use basic::AMQPMethod as B;
    let delivery_tag = 1 << 40;
    for multiple in [true, false] {
        let ack = B::Ack(basic::Ack { delivery_tag, multiple });
        assert_written(Reply::Ack { delivery_tag, multiple }, AMQPClass::Basic(ack));
        let nack = B::Nack(basic::Nack { delivery_tag, multiple, requeue: false });
        assert_written(Reply::Nack { delivery_tag, multiple }, AMQPClass::Basic(nack));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        put_ack(&mut one, 258, delivery_tag, multiple);
        Reply::Ack { delivery_tag, multiple }.put(258, &mut other);
        assert_eq!(one, other);
    }
    let consumer_tag = || "c".into();
    for (reply, oracle) in [
        (Reply::QosOk, B::QosOk(basic::QosOk {})),
        (Reply::ConsumeOk("c"), B::ConsumeOk(basic::ConsumeOk { consumer_tag: consumer_tag() })),
        (
            Reply::Cancel("c"),
            B::Cancel(basic::Cancel { consumer_tag: consumer_tag(), nowait: true }),
        ),
        (Reply::CancelOk("c"), B::CancelOk(basic::CancelOk { consumer_tag: consumer_tag() })),
        (Reply::GetEmpty, B::GetEmpty(basic::GetEmpty {})),
        (Reply::RecoverOk, B::RecoverOk(basic::RecoverOk {})),
    ] {
        assert_written(reply, AMQPClass::Basic(oracle));
    }
}

#[test]
fn a_fault_closes_the_connection_on_channel_0_and_the_channel_elsewhere() {
    let fault = Fault::new(ReplyCode::NotFound, "no queue 'x'").at(MethodId::QUEUE_BIND);
    let (code, text, method) = (404, "NOT_FOUND - no queue 'x'", MethodId::QUEUE_BIND);
    for (channel, reply) in
        [(0, Reply::Close { code, text, method }), (6, Reply::ChannelClose { code, text, method })]
    {
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        put_close(&fault, channel, &mut out);
        reply.put(channel, &mut expected);
        assert_eq!(out, expected);
    }
}

#[test]
fn a_content_without_properties_has_empty_flags() {
    let mut out = Vec::new();
    let deliver = Deliver {
        consumer_tag: "",
        delivery_tag: 1,
        redelivered: false,
        exchange: "",
        routing_key: "",
    };
    deliver.put(1, &Content { properties: &[], body: &[] }, 4096, &mut out);
    let mut rest = &out[..];
    next(&mut rest);
    let AMQPFrame::Header(1, header) = next(&mut rest) else { panic!("no header") };
    assert_eq!(header.properties, basic::AMQPProperties::default());
    assert!(rest.is_empty(), "an empty body has no frame");
}
