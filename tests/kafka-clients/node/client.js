// What a service does with kafkajs: administration, an idempotent producer, two members of a group, offsets.
// `node client.js HOST:PORT TOPIC` prints one line a step; a failure ends it with another exit code than 0.

const { Kafka, logLevel, Partitioners } = require('kafkajs')

const [address, topic] = process.argv.slice(2)
const group = `g-${topic}`
const kafka = new Kafka({ clientId: 'it', brokers: [address], logLevel: logLevel.ERROR })
const COUNT = 200

const until = async (condition, what) => {
  const deadline = Date.now() + 40_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`not within 40 s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const member = async (rows) => {
  const consumer = kafka.consumer({ groupId: group, heartbeatInterval: 200, sessionTimeout: 10_000 })
  const held = { count: 0 }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    held.count = (payload.memberAssignment[topic] || []).length
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      rows.push({ partition, key: message.key.toString(), header: message.headers.h.toString() })
    },
  })
  return { consumer, held }
}

const main = async () => {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 4 }], waitForLeaders: true })
  console.log('made', (await admin.listTopics()).includes(topic))

  const producer = kafka.producer({ idempotent: true, createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  const send = (first) =>
    producer.send({
      topic,
      acks: -1,
      messages: Array.from({ length: COUNT }, (_, n) => ({
        key: `${first + n}`, value: `v${first + n}`, headers: { h: `h${first + n}` },
      })),
    })
  await send(0)
  const offsets = await admin.fetchTopicOffsets(topic)
  console.log('stored', offsets.reduce((sum, { high }) => sum + Number(high), 0))

  const rows = []
  const first = await member(rows)
  await until(() => rows.length >= COUNT, 'the first member reads everything')
  const second = await member(rows)
  await until(() => first.held.count === 2 && second.held.count === 2, 'each has two partitions')
  await send(COUNT)
  await until(() => new Set(rows.map(({ key }) => key)).size === 2 * COUNT, 'both read on')
  console.log('shared', first.held.count, second.held.count)
  await second.consumer.disconnect()
  await until(() => first.held.count === 4, 'the one that is left has all of them')
  await first.consumer.disconnect()

  const described = await admin.describeGroups([group])
  console.log('group', described.groups[0].state)
  const committed = await admin.fetchOffsets({ groupId: group, topics: [topic] })
  console.log('committed', committed[0].partitions.reduce((sum, { offset }) => sum + Number(offset), 0))
  await admin.resetOffsets({ groupId: group, topic, earliest: true })
  await admin.deleteGroups([group])
  await admin.deleteTopics({ topics: [topic] })
  console.log('deleted', !(await admin.listTopics()).includes(topic))
  await producer.disconnect()
  await admin.disconnect()
}

main().catch((fault) => {
  console.error(fault)
  process.exit(1)
})
