//! rumqttc driven line by line: orders come in and events go out as JSON objects, one a line.
//!
//! `tests/it/mqttpeers/program.py` has the orders and events; the first order is `connect` and chooses between
//! `v4.rs` and `v5.rs`, which are rumqttc's two clients. The end of the input is the end of the process, without a
//! word to the broker.

mod v4;
mod v5;

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rumqttc::{TlsConfiguration, Transport};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a client waits before it connects again: rumqttc leaves that to the application.
pub const PAUSE: Duration = Duration::from_millis(200);
/// Largest packet taken: rumqttc's own default is 10 KiB.
pub const PACKET_BYTES_MAX: u32 = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "a TLS provider is installed already")?;
    let (sender, mut orders) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(order) = serde_json::from_str::<Value>(&line) else { break };
            if sender.send(order).is_err() {
                break;
            }
        }
    });
    let connect = orders.recv().await.ok_or("no order")?;
    match number(&connect, "version") {
        5 => v5::run(&connect, orders).await,
        _ => v4::run(&connect, orders).await,
    }
}

/// The orders that follow `connect`.
pub type Orders = UnboundedReceiver<Value>;

/// Tells one event.
pub fn say(event: Value) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}")?;
    out.flush()?;
    Ok(())
}

/// A number of an order; 0 if it is not there.
pub fn number(order: &Value, name: &str) -> u64 {
    order[name].as_u64().unwrap_or(0)
}

/// A number of an order that may be absent.
pub fn optional<T: TryFrom<u64>>(order: &Value, name: &str) -> Option<T> {
    order[name].as_u64().and_then(|value| T::try_from(value).ok())
}

/// A text of an order; empty if it is not there.
pub fn text(order: &Value, name: &str) -> String {
    order[name].as_str().unwrap_or("").to_owned()
}

pub fn flag(order: &Value, name: &str) -> bool {
    order[name].as_bool().unwrap_or(false)
}

/// Bytes, which travel as hexadecimal digits.
pub fn bytes_of(order: &Value, name: &str) -> Vec<u8> {
    let digits = text(order, name);
    digits
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// TLS that trusts the authority of the order's `ca` file; plain TCP without one.
pub fn transport(order: &Value) -> Outcome<Transport> {
    let path = text(order, "ca");
    if path.is_empty() {
        return Ok(Transport::tcp());
    }
    Ok(Transport::tls_with_config(TlsConfiguration::Simple {
        ca: std::fs::read(path)?,
        alpn: None,
        client_auth: None,
    }))
}

/// Which publish of the application an acknowledgement is for. rumqttc gives packet ids in the order of the
/// requests, and tells each when it is sent; one sent again keeps its id.
#[derive(Default)]
pub struct Unacknowledged {
    asked: VecDeque<u64>,
    sent: HashMap<u16, u64>,
}

/// What the task of the orders and the one of the connection have in common.
#[derive(Default)]
pub struct Shared {
    waiting: Mutex<Unacknowledged>,
    /// Set before the client is told to disconnect: the end of the connection is the end of the process.
    pub leaving: AtomicBool,
}

impl Shared {
    fn waiting(&self) -> Outcome<std::sync::MutexGuard<'_, Unacknowledged>> {
        self.waiting.lock().map_err(|_| "the other task failed".into())
    }

    pub fn asked(&self, number: u64) -> Outcome {
        self.waiting()?.asked.push_back(number);
        Ok(())
    }

    pub fn sent(&self, mid: u16) -> Outcome {
        let mut waiting = self.waiting()?;
        if waiting.sent.contains_key(&mid) {
            return Ok(());
        }
        let Some(number) = waiting.asked.pop_front() else {
            return Ok(());
        };
        if mid == 0 {
            return say(json!({"event": "acked", "number": number, "code": 0}));
        }
        waiting.sent.insert(mid, number);
        Ok(())
    }

    pub fn done(&self, mid: u16, code: u8) -> Outcome {
        match self.waiting()?.sent.remove(&mid) {
            Some(number) => say(json!({"event": "acked", "number": number, "code": code})),
            None => Ok(()),
        }
    }
}
