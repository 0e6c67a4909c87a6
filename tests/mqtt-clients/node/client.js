// MQTT.js driven line by line: orders come in and events go out as JSON objects, one a line.
// tests/it/mqttpeers/program.py has the orders and events. The end of the input is the end of the process, without a
// word to the broker.
'use strict';

const fs = require('fs');
const readline = require('readline');
const mqtt = require('mqtt');

const say = (event, fields) => process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);

/** Pairs to what MQTT.js wants: an object, a list for a repeated name. */
function userProperties(pairs) {
  const found = {};
  for (const [name, value] of pairs) {
    if (name in found) found[name] = [].concat(found[name], value);
    else found[name] = value;
  }
  return found;
}

const NAMES = {
  payload_format: 'payloadFormatIndicator',
  message_expiry: 'messageExpiryInterval',
  content_type: 'contentType',
  response_topic: 'responseTopic',
  topic_alias: 'topicAlias',
};

function toProperties(given) {
  const properties = {};
  for (const [name, value] of Object.entries(given || {})) {
    if (name === 'user') properties.userProperties = userProperties(value);
    else if (name === 'correlation_data') properties.correlationData = Buffer.from(value, 'hex');
    else if (name === 'payload_format') properties.payloadFormatIndicator = value === 1;
    else properties[NAMES[name]] = value;
  }
  return properties;
}

function fromProperties(given) {
  const properties = {};
  for (const [name, theirs] of Object.entries(NAMES)) {
    if (given?.[theirs] !== undefined) properties[name] = given[theirs];
  }
  if (properties.payload_format !== undefined) properties.payload_format = Number(properties.payload_format);
  if (given?.correlationData) properties.correlation_data = given.correlationData.toString('hex');
  if (given?.subscriptionIdentifier !== undefined) {
    properties.subscription_id = [].concat(given.subscriptionIdentifier);
  }
  if (given?.userProperties) {
    properties.user = Object.entries(given.userProperties).flatMap(
      ([name, values]) => [].concat(values).map((value) => [name, value]));
  }
  return properties;
}

function options(order) {
  const five = order.version === 5;
  const made = {
    protocolVersion: order.version,
    clientId: order.id,
    clean: order.clean,
    keepalive: order.keepalive,
    reconnectPeriod: 200,
    username: order.username,
    password: order.password,
  };
  if (order.version === 3) made.protocolId = 'MQIsdp';
  if (order.ca) made.ca = fs.readFileSync(order.ca);
  if (order.will) {
    const { topic, payload, qos, retain, delay, properties } = order.will;
    made.will = { topic, payload: Buffer.from(payload, 'hex'), qos: qos || 0, retain: Boolean(retain) };
    if (five) {
      made.will.properties = toProperties(properties);
      if (delay !== undefined) made.will.properties.willDelayInterval = delay;
    }
  }
  if (five) {
    made.properties = {};
    if (order.expiry !== undefined) made.properties.sessionExpiryInterval = order.expiry;
    if (order.receive_maximum !== undefined) made.properties.receiveMaximum = order.receive_maximum;
    if (order.alias_maximum !== undefined) made.properties.topicAliasMaximum = order.alias_maximum;
  }
  return made;
}

let client;

const ORDERS = {
  connect(order) {
    client = mqtt.connect(`${order.ca ? 'mqtts' : 'mqtt'}://localhost:${order.port}`, options(order));
    client.on('connect', (ack) => say('connected', {
      code: 0, present: ack.sessionPresent, assigned: ack.properties?.assignedClientIdentifier }));
    client.on('error', (error) => {
      if (error.code !== undefined && typeof error.code === 'number') say('connected', { code: error.code });
      else say('failed', { why: String(error) });
    });
    client.on('message', (topic, payload, packet) => say('message', {
      topic, payload: payload.toString('hex'), qos: packet.qos, retain: packet.retain, dup: packet.dup,
      properties: fromProperties(packet.properties) }));
    client.on('disconnect', (packet) => say('closed', { code: packet.reasonCode }));
    client.on('close', () => say('closed', { why: 'end of stream' }));
  },
  subscribe(order) {
    const made = { qos: order.qos };
    if (order.version === 5) {
      Object.assign(made, { nl: order.no_local, rap: order.as_published, rh: order.handling });
      if (order.identifier !== undefined) made.properties = { subscriptionIdentifier: order.identifier };
    }
    client.subscribe(order.filter, made, (error, granted, packet) => say(
      'subscribed', { codes: packet ? packet.granted : granted.map((one) => one.qos), why: error && String(error) }));
  },
  unsubscribe(order) {
    client.unsubscribe(order.filter, () => say('unsubscribed'));
  },
  publish(order) {
    const made = { qos: order.qos, retain: order.retain };
    if (order.properties) made.properties = toProperties(order.properties);
    client.publish(order.topic, Buffer.from(order.payload, 'hex'), made, (error, packet) => say(
      'acked', { number: order.number, code: error ? error.code : packet?.reasonCode ?? 0 }));
  },
  disconnect() {
    client.end(false, () => process.exit(0));
  },
};

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const order = JSON.parse(line);
    ORDERS[order.order](order);
  })
  .on('close', () => process.exit(0));
