//! Tests from outside, on real processes: each suite, with what belongs in it.

mod callbacks; // another module that changes keys while our commands run
mod caller; // whose address counts: peers, proxies, what clients make up
mod clocks; // clocks that are set forward and back, of one server and of one that is promoted
mod cluster; // three primaries and three replicas: redirections, slots that move, failovers
mod concurrency; // many clients on one key
mod corpus; // what fuzzing found worth keeping, replayed
mod crowds; // a thousand slow clients, ten thousand connections, a million callers
mod deny_cache; // denials that are remembered
mod deployment; // the unit for systemd and the Dockerfile
mod errors; // every error reply, word for word, in one table
mod events; // the keyspace events of each change
mod failover; // rl-server while a primary of a cluster or of Sentinels is killed, and while slots move
mod flood; // one address that sends as much as it can, and others beside it
mod headers; // what answers say in headers and bodies: numbers, problems, CORS
mod history; // many callers' calls, recorded and checked by the promises alone
mod hostile; // input that means harm, in every place
mod http; // /token and /leaky: statuses, headers, bodies, flags, the end
mod hung_names; // a name that is looked up and never found
mod info; // RL.INFO
mod keys; // types, names, expiry, watchers, transactions and scripts
mod kill; // rl-server killed under load
mod layers; // who may depend on what, and which file may be unsafe
mod leaks; // nothing leaked and nothing touched that is not ours, by valgrind and by the address sanitizer
mod leaky; // RL.LEAKY likewise, and what differs
mod listeners; // what is left out while nobody listens is missed by nobody who begins to
mod log_flood; // lines of the log that clients cause
mod memory; // bytes per key, a million callers, eviction, no memory left
mod memory_http; // what clients can make the server hold, and how much `/metrics` can grow
mod metrics; // what is counted, the board
mod multi; // RL.MULTI: all or nothing
mod once; // what was sent to Redis is never sent again
mod operations; // health and the log
mod outage; // Redis gone, stopped, back, or turning everybody away; the three ways to do without it
mod packages; // what `tests/packages.sh` leaves behind
mod page; // the page at /, in a real browser
mod peek; // RL.PEEK
mod persistence; // RDB and AOF, with and without the module
mod proxies; // behind a real nginx, configured as server/README.md says, and behind two in a row
mod questions; // what programs ask on behalf of others: key, cost, rate, burst
mod readme; // README's commands print README's output
mod redis_addresses; // the forms of -redis, TLS, users and their rights
mod redis_password; // where the password for Redis may stand, and where not
mod replication; // what reaches a replica, and what does not
mod run; // `make run`
mod screening; // Host, pages of other origins, nosniff
mod sentinel; // failovers by Sentinel
mod server; // what the server tells of us: COMMAND, ACL, INFO, MODULE
mod server_modes; // ways to run a server: diskless loads, active defragmentation, I/O threads
mod serving; // connections: time-outs, bounds, how many, the end
mod shaping; // answers that wait for their turn
mod shifted_replies; // one reply of Redis too many
mod throttle; // RL.THROTTLE and CL.THROTTLE, and what redis-cell left
mod token; // RL.TOKEN as a client sees it: every field of its reply, every option
mod unload; // MODULE UNLOAD while something still points to our commands
mod wall_clock; // rl-server's clock, set while it serves
