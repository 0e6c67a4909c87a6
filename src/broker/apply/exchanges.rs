//! Exchanges and bindings. Part of `broker::apply`.

use crate::model::ids::QueueId;
use crate::store::tables::exchanges::ExchangeRow;

use super::super::consumer::Outcome;
use super::super::record::Record;
use super::Applier;

impl Applier {
    pub(super) fn change_exchanges(&mut self, record: &Record<'_>) -> Outcome {
        let mut applied = self.broker.exchanges.applied.lock();
        if let Record::DeclareExchange { vhost, name, kind, auto_delete, internal, arguments } =
            record
        {
            let row = ExchangeRow {
                kind: (*kind).to_owned(),
                auto_delete: *auto_delete,
                internal: *internal,
                arguments: arguments.to_vec(),
            };
            applied.declare_exchange(vhost, name, row);
        } else if let Record::DeleteExchange { vhost, name } = record {
            applied.delete_exchange(vhost, name);
        } else if let Record::Bind(binding) = record {
            applied.bind(binding);
        } else if let Record::Unbind(binding) = record {
            applied.unbind(binding);
        }
        Outcome::Done
    }

    /// A declared queue is about to go: no binding names it any more.
    pub(super) fn unbind_queue(&mut self, id: QueueId) {
        let queue = self.broker.declared.by_id(id);
        if let Some(queue) = queue.filter(|queue| !queue.settings.share) {
            self.broker.exchanges.applied.lock().delete_queue(&queue.vhost, &queue.name);
        }
    }
}
