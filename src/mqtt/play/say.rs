//! The packets of clients, written without the codec that reads them. Part of `mqtt::play`.

/// A client's CONNECT.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) is_v5: bool,
    pub(super) client_id: &'static str,
    pub(super) clean: bool,
    /// Seconds.
    pub(super) keep_alive_s: u16,
    /// Seconds; MQTT 5 only.
    pub(super) expiry_s: u32,
    pub(super) receive_max: Option<u16>,
    pub(super) packet_bytes_max: Option<u32>,
    pub(super) alias_max: u16,
    pub(super) wants_reasons: bool,
    pub(super) will: Option<Farewell>,
}

/// A will.
#[derive(Clone, Debug)]
pub(super) struct Farewell {
    pub(super) payload: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) delay_s: u32,
}

/// A PUBLISH.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: &'static str,
    pub(super) payload: String,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) id: u16,
    /// MQTT 5: properties but the alias.
    pub(super) properties: Vec<u8>,
    pub(super) alias: Option<u16>,
    /// With an alias: leave the topic out.
    pub(super) is_short: bool,
}

impl Hello {
    pub(super) fn packet(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3 | u8::from(will.retain) << 5;
        }
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        body.extend([if self.is_v5 { 5 } else { 4 }, flags]);
        body.extend(self.keep_alive_s.to_be_bytes());
        if self.is_v5 {
            section(&mut body, &self.properties());
        }
        text(&mut body, self.client_id);
        if let Some(will) = &self.will {
            if self.is_v5 {
                let mut properties = vec![0x18];
                properties.extend(will.delay_s.to_be_bytes());
                section(&mut body, &properties);
            }
            text(&mut body, "w");
            text(&mut body, &will.payload);
        }
        packet(0x10, &body)
    }

    fn properties(&self) -> Vec<u8> {
        let mut out = vec![0x11];
        out.extend(self.expiry_s.to_be_bytes());
        if let Some(most) = self.receive_max {
            out.push(0x21);
            out.extend(most.to_be_bytes());
        }
        if let Some(most) = self.packet_bytes_max {
            out.push(0x27);
            out.extend(most.to_be_bytes());
        }
        out.push(0x22);
        out.extend(self.alias_max.to_be_bytes());
        out.extend([0x17, u8::from(self.wants_reasons)]);
        out
    }
}

impl Message {
    pub(super) fn packet(&self, is_v5: bool) -> Vec<u8> {
        let header = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = Vec::new();
        text(&mut body, if self.is_short { "" } else { self.topic });
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if is_v5 {
            let mut properties = self.properties.clone();
            if let Some(alias) = self.alias {
                properties.push(0x23);
                properties.extend(alias.to_be_bytes());
            }
            section(&mut body, &properties);
        }
        body.extend(self.payload.as_bytes());
        packet(header, &body)
    }
}

/// PUBACK (4), PUBREC (5), PUBREL (6), PUBCOMP (7).
pub(super) fn ack(kind: u8, id: u16, reason: u8, is_v5: bool) -> Vec<u8> {
    let header = kind << 4 | if kind == 6 { 2 } else { 0 };
    let mut body = id.to_be_bytes().to_vec();
    if is_v5 && reason != 0 {
        body.push(reason);
    }
    packet(header, &body)
}

/// SUBSCRIBE with the same options for every filter, and an identifier if it is not 0.
pub(super) fn subscribe(id: u16, filters: &[&str], options: u8, name: u8, is_v5: bool) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if is_v5 {
        section(&mut body, if name == 0 { &[] } else { &[0x0B, 0][..] });
        if name > 0 {
            *body.last_mut().unwrap() = name & 0x7F;
        }
    }
    for filter in filters {
        text(&mut body, filter);
        body.push(if is_v5 { options } else { options & 3 });
    }
    packet(0x82, &body)
}

pub(super) fn unsubscribe(id: u16, filters: &[&str], is_v5: bool) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if is_v5 {
        body.push(0);
    }
    filters.iter().for_each(|filter| text(&mut body, filter));
    packet(0xA2, &body)
}

/// DISCONNECT; reason and expiry with MQTT 5 only.
pub(super) fn disconnect(reason: u8, expiry_s: Option<u32>, is_v5: bool) -> Vec<u8> {
    let mut body = Vec::new();
    if is_v5 && (reason != 0 || expiry_s.is_some()) {
        body.push(reason);
        if let Some(expiry_s) = expiry_s {
            body.extend([5, 0x11]);
            body.extend(expiry_s.to_be_bytes());
        }
    }
    packet(0xE0, &body)
}

pub(super) const PING: [u8; 2] = [0xC0, 0];

fn packet(header: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![header];
    number(&mut out, body.len());
    out.extend(body);
    out
}

fn section(out: &mut Vec<u8>, properties: &[u8]) {
    number(out, properties.len());
    out.extend(properties);
}

fn number(out: &mut Vec<u8>, mut left: usize) {
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        if left == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend(text.as_bytes());
}
