//! Records to bytes. Part of `broker::record`.

use super::{
    Binding, Condition, OpenSession, Record, ReplayItem, RoutedAppend, SetMember, VERSION, Writer,
    kind,
};

impl Record<'_> {
    /// Appends the record's bytes.
    #[expect(clippy::too_many_lines, reason = "a flat match over every kind")]
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut w = Writer(out);
        w.u8(VERSION);
        match self {
            Self::Publish { vhost, condition, set, members, retained, appends, message } => {
                w.u8(kind::PUBLISH);
                w.str(vhost);
                encode_condition(&mut w, condition);
                w.option(*set, |w, set| w.varint(set.0));
                w.count(members.len());
                members.iter().for_each(|member| member.encode(&mut w));
                w.bool(*retained);
                w.count(appends.len());
                appends.iter().for_each(|append| encode_append(&mut w, append));
                w.raw(message);
            }
            Self::DefineSet { id, members } => {
                w.u8(kind::DEFINE_SET);
                w.varint(id.0);
                w.count(members.len());
                members.iter().for_each(|member| member.encode(&mut w));
            }
            Self::RetireSet { id } => {
                w.u8(kind::RETIRE_SET);
                w.varint(id.0);
            }
            Self::OpenSession(open) => {
                w.u8(kind::OPEN_SESSION);
                open.encode(&mut w);
            }
            Self::CloseSession { session, epoch, time_ms, expiry_s, sent, will_due_ms } => {
                w.u8(kind::CLOSE_SESSION);
                w.varint(session.0);
                w.varint(*epoch);
                w.u64(*time_ms);
                w.u32(*expiry_s);
                w.varint(*sent);
                w.option(*will_due_ms, Writer::u64);
            }
            Self::EndSession { session, epoch } => {
                w.u8(kind::END_SESSION);
                w.varint(session.0);
                w.varint(*epoch);
            }
            Self::Subscribe { session, epoch, subscriptions } => {
                w.u8(kind::SUBSCRIBE);
                w.varint(session.0);
                w.varint(*epoch);
                w.count(subscriptions.len());
                for (filter, subscription) in subscriptions {
                    w.str(filter);
                    subscription.encode(&mut w);
                }
            }
            Self::Replay { session, epoch, filter, after, items } => {
                w.u8(kind::REPLAY);
                w.varint(session.0);
                w.varint(*epoch);
                w.str(filter);
                w.option(*after, Writer::str);
                w.count(items.len());
                items.iter().for_each(|item| encode_item(&mut w, item));
            }
            Self::Unsubscribe { session, epoch, filters } => {
                w.u8(kind::UNSUBSCRIBE);
                w.varint(session.0);
                w.varint(*epoch);
                w.count(filters.len());
                filters.iter().for_each(|filter| w.str(filter));
            }
            Self::Settle { queue, positions } => {
                w.u8(kind::SETTLE);
                w.varint(queue.0);
                w.count(positions.len());
                positions.iter().for_each(|position| w.varint(*position));
            }
            Self::Release { queue, position } => {
                w.u8(kind::RELEASE);
                w.varint(queue.0);
                w.varint(*position);
            }
            Self::ForgetInbound { session, epoch, packet_id } => {
                w.u8(kind::FORGET_INBOUND);
                w.varint(session.0);
                w.varint(*epoch);
                w.u16(*packet_id);
            }
            Self::CreateLog { id, vhost, name, uuid, time_ms, partitions, config } => {
                w.u8(kind::CREATE_LOG);
                w.u32(id.0);
                w.str(vhost);
                w.str(name);
                w.raw(uuid);
                w.u64(*time_ms);
                w.u32(*partitions);
                w.count(config.len());
                for (key, value) in config {
                    w.str(key);
                    w.str(value);
                }
            }
            Self::Append { log, partition, time_ms, batch } => {
                w.u8(kind::APPEND);
                w.u32(log.0);
                w.u32(*partition);
                w.u64(*time_ms);
                w.raw(batch);
            }
            Self::Limits { queued_messages_max, queued_bytes_max } => {
                w.u8(kind::LIMITS);
                w.u64(*queued_messages_max);
                w.u64(*queued_bytes_max);
            }
            Self::DropRetained { vhost, topic, value } => {
                w.u8(kind::DROP_RETAINED);
                w.str(vhost);
                w.str(topic);
                w.varint(value.0);
            }
            Self::DeclareExchange { vhost, name, kind, auto_delete, internal, arguments } => {
                w.u8(kind::DECLARE_EXCHANGE);
                w.str(vhost);
                w.str(name);
                w.str(kind);
                w.bool(*auto_delete);
                w.bool(*internal);
                w.bytes(arguments);
            }
            Self::DeleteExchange { vhost, name } => {
                w.u8(kind::DELETE_EXCHANGE);
                w.str(vhost);
                w.str(name);
            }
            Self::Bind(binding) => {
                w.u8(kind::BIND);
                binding.encode(&mut w);
            }
            Self::Unbind(binding) => {
                w.u8(kind::UNBIND);
                binding.encode(&mut w);
            }
            Self::DeclareQueue { id, vhost, name, auto_delete, arguments } => {
                w.u8(kind::DECLARE_QUEUE);
                w.varint(id.0);
                w.str(vhost);
                w.str(name);
                w.bool(*auto_delete);
                w.bytes(arguments);
            }
            Self::DeleteQueue { id } => {
                w.u8(kind::DELETE_QUEUE);
                w.varint(id.0);
            }
            Self::SettleRanges { queue, ranges } => {
                w.u8(kind::SETTLE_RANGES);
                w.varint(queue.0);
                w.count(ranges.len());
                for (first, count) in ranges {
                    w.varint(*first);
                    w.varint(*count);
                }
            }
            Self::Group(record) => {
                w.u8(kind::GROUP);
                record.encode(&mut w);
            }
            Self::LogChange(change) => {
                w.u8(kind::LOG_CHANGE);
                change.encode(&mut w);
            }
            Self::DeclareShare { id, vhost, filter } => {
                w.u8(kind::DECLARE_SHARE);
                w.varint(id.0);
                w.str(vhost);
                w.str(filter);
            }
            Self::Take { session, epoch, items } => {
                w.u8(kind::TAKE);
                w.varint(session.0);
                w.varint(*epoch);
                w.count(items.len());
                items.iter().for_each(|item| item.encode(&mut w));
            }
            Self::Barrier => w.u8(kind::BARRIER),
        }
    }
}

impl Binding<'_> {
    fn encode(&self, w: &mut Writer<'_>) {
        w.str(self.vhost);
        w.str(self.source);
        w.bool(self.to_exchange);
        w.str(self.destination);
        w.str(self.key);
        w.bytes(self.arguments);
    }
}

fn encode_condition(w: &mut Writer<'_>, condition: &Condition<'_>) {
    match condition {
        Condition::None => w.u8(0),
        Condition::Inbound { session, epoch, packet_id } => {
            w.u8(1);
            w.varint(session.0);
            w.varint(*epoch);
            w.u16(*packet_id);
        }
        Condition::Will { session, epoch } => {
            w.u8(2);
            w.varint(session.0);
            w.varint(*epoch);
        }
        Condition::Position { group, log, partition, expected, next } => {
            w.u8(3);
            w.str(group);
            w.u32(log.0);
            w.u32(*partition);
            w.i64(*expected);
            w.i64(*next);
        }
    }
}

fn encode_append(w: &mut Writer<'_>, append: &RoutedAppend<'_>) {
    w.u32(append.log.0);
    w.u32(append.partition);
    // Bit 0: a key follows; bit 1: an address.
    w.u8(u8::from(append.key.is_some()) | u8::from(append.via.is_some()) << 1);
    if let Some(key) = append.key {
        w.bytes(key);
    }
    if let Some(via) = &append.via {
        via.encode(w);
    }
}

fn encode_item(w: &mut Writer<'_>, item: &ReplayItem<'_>) {
    w.u8(item.qos as u8);
    w.option(item.subscription_id, Writer::u32);
    w.bytes(item.message);
}

/// Bit 0 of a member's flags is `retain_as_published`.
pub(super) const HAS_VIA: u8 = 1 << 1;

impl SetMember {
    /// Appends the member's bytes.
    pub fn encode(&self, w: &mut Writer<'_>) {
        w.varint(self.queue.0);
        w.u8(self.qos as u8);
        let flags =
            u8::from(self.retain_as_published) | if self.via.is_some() { HAS_VIA } else { 0 };
        w.u8(flags);
        w.count(self.subscription_ids.len());
        self.subscription_ids.iter().for_each(|id| w.u32(*id));
        if let Some(via) = &self.via {
            via.encode(w);
        }
    }
}

impl OpenSession<'_> {
    fn encode(&self, w: &mut Writer<'_>) {
        w.varint(self.session.0);
        w.str(self.vhost);
        w.str(self.client_id);
        w.varint(self.epoch);
        w.u64(self.time_ms);
        w.u32(self.expiry_s);
        w.u16(self.receive_max);
        w.option(self.will, |w, (delay_s, message)| {
            w.u32(delay_s);
            w.bytes(message);
        });
        w.option(self.replaces, |w, queue| w.varint(queue.0));
    }
}
