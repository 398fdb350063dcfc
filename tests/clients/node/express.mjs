// A store for express-rate-limit. Usage: node express.mjs PORT KEY... sends a request of each key to an application.
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { rateLimit } from 'express-rate-limit'
import { createClient } from 'redis'

class RlStore {
  constructor(call, prefix = 'limit:') { Object.assign(this, { call, prefix }) }
  init({ windowMs, limit }) { this.policy = [`${limit}/${windowMs}ms`, `${limit}`] }
  #take(key, ...option) { return this.call(['RL.TOKEN', this.prefix + key, ...this.policy, ...option]) }

  async increment(key) {
    const [allowed, limit, remaining, retryAfterMs, resetAfterMs] = await this.#take(key)
    const resetTime = new Date(Date.now() + (allowed ? resetAfterMs : retryAfterMs))
    return { totalHits: allowed ? limit - remaining : limit + 1, resetTime }
  }
  async decrement(key) { await this.#take(key, 'REFUND', '1') }
  async resetKey(key) { await this.call(['DEL', this.prefix + key]) }
}

const client = createClient({ url: `redis://127.0.0.1:${process.argv[2]}`, disableOfflineQueue: true })
client.on('error', () => {}) // connects again in the background
const deadlineMs = Number(process.env.DEADLINE_MS ?? 100)
const late = () => sleep(deadlineMs, undefined, { ref: false }).then(() => { throw new Error('no reply in time') })
await Promise.race([client.connect(), late()]).catch(() => {})

const limiter = rateLimit({
  windowMs: 86_400_000, limit: 2, standardHeaders: true, legacyHeaders: false,
  keyGenerator: request => request.get('x-api-key'),
  store: new RlStore(words => Promise.race([client.sendCommand(words), late()])),
  passOnStoreError: true, // requests pass while Redis is away
})
const application = express().use(limiter).get('/', (_, response) => response.send('the application'))
const server = application.listen(0, '127.0.0.1', async () => {
  for (const key of process.argv.slice(3)) {
    const response = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { 'x-api-key': key } })
    console.log(key, response.status, response.headers.get('retry-after') ?? '')
  }
  server.close()
  client.destroy()
})
