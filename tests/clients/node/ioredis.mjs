// Limits by ioredis. Usage: node ioredis.mjs PORTS KEY...; PORTS is 6379, or 7001,7002,7003 for a cluster.
import { setTimeout as sleep } from 'node:timers/promises'
import { Cluster, Command, Redis, ReplyError } from 'ioredis'

const deadlineMs = Number(process.env.DEADLINE_MS ?? 100)
// A call without a reply may have taken its tokens, and a retry takes them again.
const noRetries = { maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false }
const once = { commandTimeout: deadlineMs, connectTimeout: deadlineMs, ...noRetries }
const nodes = process.argv[2].split(',').map(port => ({ host: '127.0.0.1', port }))
const client = nodes.length > 1
  ? new Cluster(nodes, { redisOptions: once, retryDelayOnFailover: 0, retryDelayOnClusterDown: 0 })
  : new Redis({ ...nodes[0], ...once })
client.on('error', () => {}) // connects again in the background

async function decide(command, key) {
  const call = new Command(command, [key, '10/s', '20'])
  call.keys = [key] // or a cluster's client sends it to any node, which redirects it
  const [allowed, limit, remaining, retryAfterMs, resetAfterMs, delayMs = 0] = await client.sendCommand(call)
  return { allowed, limit, remaining, retryAfterMs, resetAfterMs, delayMs }
}

// Undefined if Redis is away: the caller then lets the work pass, or refuses it.
async function waitForTurn(command, key) {
  for (;;) {
    const decision = await decide(command, key).catch(error => { if (error instanceof ReplyError) throw error })
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
client.disconnect()
