// RabbitMQ's six tutorials with amqplib in one program, and what applications do besides: confirms, returns, direct
// reply-to, refused channels. Prints one line a part; the broker is where AMQP_URL says.
'use strict';

const amqp = require('amqplib');

const say = (line) => console.log(line);

function check(condition, text) {
  if (!condition) throw new Error(text);
}

/** A list that can be waited for: messages are pushed, `take(n)` resolves with the first n of them. */
class Inbox {
  constructor() {
    this.items = [];
    this.waiting = [];
  }

  push(item) {
    this.items.push(item);
    this.waiting = this.waiting.filter(({ count, resolve }) => {
      if (this.items.length < count) return true;
      resolve(this.items.slice(0, count));
      return false;
    });
  }

  take(count) {
    return new Promise((resolve) => {
      this.waiting.push({ count, resolve });
      if (this.items.length >= count) {
        this.waiting.pop();
        resolve(this.items.slice(0, count));
      }
    });
  }
}

const texts = (messages) => messages.map((message) => message.content.toString());

async function hello(connection) {
  const [sender, receiver] = [await connection.createChannel(), await connection.createChannel()];
  await sender.assertQueue('hello');
  sender.sendToQueue('hello', Buffer.from('Hello World!'));
  const inbox = new Inbox();
  await receiver.assertQueue('hello');
  await receiver.consume('hello', (message) => inbox.push(message), { noAck: true });
  say(`hello: ${texts(await inbox.take(1))[0]}`);
}

/** Two workers of prefetch 1 take turns; one that keeps a heavy task gets no other. */
async function work(connection) {
  const boss = await connection.createChannel();
  await boss.assertQueue('task_queue', { durable: true });
  const task = (text) => boss.sendToQueue('task_queue', Buffer.from(text), { persistent: true });
  const inbox = new Inbox();
  const worker = async (name) => {
    const channel = await connection.createChannel();
    await channel.prefetch(1);
    const { consumerTag } = await channel.consume('task_queue', (message) => {
      inbox.push({ name, text: message.content.toString() });
      if (message.content.toString() !== 'heavy') channel.ack(message);
    });
    return { channel, consumerTag };
  };
  const [one, two] = [await worker('one'), await worker('two')];
  for (let number = 0; number < 6; number += 1) {
    task(`task ${number}`);
    await inbox.take(number + 1);
  }
  const done = (name) => inbox.items.filter((item) => item.name === name).length;
  const turns = `${done('one')} and ${done('two')}`;
  task('heavy');
  const busy = (await inbox.take(7))[6].name;
  for (let number = 0; number < 4; number += 1) task('light');
  const light = (await inbox.take(11)).slice(7);
  check(light.every((item) => item.name !== busy), 'who is busy got more work');
  say(`work: ${turns} in turns, heavy stayed alone`);
  await one.channel.close();
  await two.channel.close();
  await boss.purgeQueue('task_queue');
}

/** What a worker did not acknowledge before its connection broke goes to another. */
async function redelivery(url) {
  const [doomed, survivor] = [await amqp.connect(url), await amqp.connect(url)];
  doomed.on('error', () => {});
  const boss = await survivor.createChannel();
  const { queue } = await boss.assertQueue('precious_queue', { durable: true });
  const first = new Inbox();
  const channel = await doomed.createChannel();
  channel.on('error', () => {});
  await channel.consume(queue, (message) => first.push(message));
  boss.sendToQueue(queue, Buffer.from('precious'), { persistent: true });
  check(!(await first.take(1))[0].fields.redelivered, 'redelivered at first');
  const second = new Inbox();
  await boss.consume(queue, (message) => second.push(message));
  doomed.connection.stream.destroy();
  const [again] = await second.take(1);
  check(again.fields.redelivered, 'not marked as redelivered');
  boss.ack(again);
  say(`redelivered: ${again.content}`);
  await boss.deleteQueue(queue);
  await survivor.close();
}

/** A server-named queue bound by some keys. */
async function listen(connection, exchange, keys) {
  const channel = await connection.createChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  for (const key of keys) await channel.bindQueue(queue, exchange, key);
  const inbox = new Inbox();
  await channel.consume(queue, (message) => inbox.push(message), { noAck: true });
  return inbox;
}

async function logs(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('logs', 'fanout', { durable: false });
  const inboxes = [await listen(connection, 'logs', ['']), await listen(connection, 'logs', [''])];
  channel.publish('logs', '', Buffer.from('info: Hello World!'));
  const heard = await Promise.all(inboxes.map((inbox) => inbox.take(1)));
  check(heard.every((messages) => texts(messages)[0] === 'info: Hello World!'), 'another line');
  say(`logs: ${heard.length} heard it`);
}

async function routing(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('direct_logs', 'direct', { durable: false });
  const errors = await listen(connection, 'direct_logs', ['error']);
  for (const severity of ['info', 'error']) channel.publish('direct_logs', severity, Buffer.from(severity));
  const [message] = await errors.take(1);
  check(message.fields.routingKey === 'error', 'another key');
  say(`routing: ${texts([message])[0]}`);
}

async function topics(connection) {
  const channel = await connection.createChannel();
  await channel.assertExchange('topic_logs', 'topic', { durable: false });
  const inbox = await listen(connection, 'topic_logs', ['kern.*', '*.critical']);
  for (const key of ['kern.critical', 'kern.info', 'cron.critical', 'cron.info']) {
    channel.publish('topic_logs', key, Buffer.from(key));
  }
  say(`topics: ${texts(await inbox.take(3)).sort().join(' ')}`);
}

const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));

/** A server that answers, and one question with a queue for the answer, one by direct reply-to. */
async function rpc(connection) {
  const server = await connection.createChannel();
  await server.assertQueue('rpc_queue', { durable: false });
  await server.prefetch(1);
  await server.consume('rpc_queue', (message) => {
    const { replyTo, correlationId } = message.properties;
    server.sendToQueue(replyTo, Buffer.from(String(fib(Number(message.content)))), { correlationId });
    server.ack(message);
  });
  const ask = async (label, n, replyQueue) => {
    const channel = await connection.createChannel();
    const replyTo = replyQueue ?? (await channel.assertQueue('', { exclusive: true })).queue;
    const inbox = new Inbox();
    await channel.consume(replyTo, (message) => inbox.push(message), { noAck: true });
    channel.sendToQueue('rpc_queue', Buffer.from(String(n)), { correlationId: `question-${n}`, replyTo });
    const [answer] = await inbox.take(1);
    check(answer.properties.correlationId === `question-${n}`, 'the answer to another question');
    say(`${label}: fib(${n}) = ${answer.content}`);
  };
  await ask('rpc', 20);
  await ask('direct reply-to', 10, 'amq.rabbitmq.reply-to');
}

async function confirms(connection) {
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue('', { exclusive: true });
  const returned = new Inbox();
  channel.on('return', (message) => returned.push(message));
  let confirmed = 0;
  for (let number = 0; number < 99; number += 1) {
    channel.sendToQueue(queue, Buffer.from('x'), { persistent: true }, (error) => { confirmed += error ? 0 : 1; });
  }
  channel.publish('', 'nobody.has.this.queue', Buffer.from('lost'), { mandatory: true }, (error) => {
    check(returned.items.length === 1, 'confirmed before it was returned');
    confirmed += error ? 0 : 1;
  });
  await channel.waitForConfirms();
  say(`confirmed: ${confirmed}, returned: ${(await returned.take(1)).length}`);
}

async function refusals(connection) {
  const codes = [];
  for (const work_ of [(channel) => channel.assertQueue('task_queue', { durable: false }),
    (channel) => channel.checkQueue('nobody.has.this.queue')]) {
    const channel = await connection.createChannel();
    channel.on('error', () => {});
    await work_(channel).catch((error) => codes.push(error.code));
  }
  say(`refused: ${codes.join(' ')}`);
}

async function main() {
  const url = process.env.AMQP_URL ?? 'amqp://localhost:5672/%2F';
  const connection = await amqp.connect(url);
  await hello(connection);
  await work(connection);
  await redelivery(url);
  for (const part of [logs, routing, topics, rpc, confirms, refusals]) await part(connection);
  await connection.close();
  say('all done');
}

// The connection that was broken on purpose keeps its timers, so the program would not end by itself.
main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
