//! Tests of routes out of logs, with a journal that is synced on command. Part of `broker::carry`.
