// Limits by node-redis. Usage: node node_redis.mjs PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster.
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, createCluster, ErrorReply } from 'redis'

const deadlineMs = Number(process.env.DEADLINE_MS ?? 100)
// Without a connection calls fail at once. A call without a reply may have taken its tokens; node-redis repeats none.
const options = { disableOfflineQueue: true, socket: { connectTimeout: deadlineMs } }
const urls = process.argv[2].split(',').map(port => `redis://127.0.0.1:${port}`)
const client = urls.length > 1
  ? createCluster({ rootNodes: urls.map(url => ({ url })), defaults: options })
  : createClient({ url: urls[0], ...options })
client.on('error', () => {}) // connects again in the background
const withinDeadline = promise => Promise.race([promise, sleep(deadlineMs, undefined, { ref: false })])
await withinDeadline(client.connect())

async function decide(command, key) {
  const words = [command, key, '10/s', '20']
  // A cluster's client takes the key too, to find its node, and whether a replica may answer.
  const sent = urls.length > 1 ? client.sendCommand(key, false, words) : client.sendCommand(words)
  const reply = await withinDeadline(sent)
  if (!reply) return
  const [allowed, limit, remaining, retryAfterMs, resetAfterMs, delayMs = 0] = reply
  return { allowed, limit, remaining, retryAfterMs, resetAfterMs, delayMs }
}

// Undefined if Redis is away: the caller then lets the work pass, or refuses it.
async function waitForTurn(command, key) {
  for (;;) {
    const decision = await decide(command, key).catch(error => { if (error instanceof ErrorReply) throw error })
    if (!decision) return
    await sleep(decision.allowed ? decision.delayMs : decision.retryAfterMs)
    if (decision.allowed) return decision
  }
}

for (const command of ['RL.TOKEN', 'RL.LEAKY']) {
  for (const key of process.argv.slice(3)) {
    const decision = await waitForTurn(command, `${command}:${key}`)
    console.log(command, key, decision ? `remaining ${decision.remaining}` : 'Redis is away')
  }
}
client.destroy()
