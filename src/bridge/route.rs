//! One compiled route. Part of `bridge`; pure.

use std::sync::Arc;

use crate::bridge::into_exchange::IntoExchange;
use crate::bridge::into_log::IntoLog;
use crate::bridge::into_tree::IntoTree;
use crate::bridge::out_of_log::{OutOfLog, Way as Outward};

/// A route, valid from its load on.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique among all routes; a label of its metrics.
    pub name: Arc<str>,
    /// Where its addresses live.
    pub vhost: Arc<str>,
    /// From where to where.
    pub way: Way,
}

/// From where to where a route carries.
#[derive(Clone, Debug)]
pub enum Way {
    /// From the topic tree into logs.
    IntoLog(IntoLog),
    /// From the topic tree into an exchange.
    IntoExchange(IntoExchange),
    /// From an exchange into the topic tree.
    IntoTree(IntoTree),
    /// From a log into the topic tree or an exchange.
    OutOfLog(OutOfLog),
}

impl Route {
    /// The log's name and the partitions asked for, if every message goes into the same log.
    #[must_use]
    pub fn fixed_log(&self) -> Option<(&str, Option<u32>)> {
        match &self.way {
            Way::IntoLog(way) => way.fixed_log().map(|log| (log, way.partitions)),
            Way::IntoExchange(_) | Way::IntoTree(_) | Way::OutOfLog(_) => None,
        }
    }

    /// The exchange that must be there, and the type it is declared with if it is not.
    #[must_use]
    pub fn exchange(&self) -> Option<(&str, &str)> {
        match &self.way {
            Way::IntoLog(_) => None,
            Way::IntoExchange(way) => Some((&way.exchange, &way.exchange_type)),
            Way::IntoTree(way) => Some((&way.exchange, &way.exchange_type)),
            Way::OutOfLog(way) => match &way.way {
                Outward::Tree { .. } => None,
                Outward::Exchange { exchange, exchange_type, .. } => {
                    Some((exchange, exchange_type))
                }
            },
        }
    }
}
